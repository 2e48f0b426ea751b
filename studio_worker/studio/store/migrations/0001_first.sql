CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'claimed', 'done', 'failed', 'cancelled')),
    model TEXT NOT NULL,
    kind TEXT NOT NULL,
    engine TEXT NOT NULL,
    task TEXT NOT NULL,
    model_source TEXT NOT NULL,
    title TEXT NOT NULL DEFAULT '',
    vram_gb_estimate REAL NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 1,
    worker_id TEXT,
    last_worker_id TEXT,
    error TEXT,
    result TEXT,
    prompt TEXT,
    blob TEXT,
    media_type TEXT,
    blob_bytes INTEGER,
    meta TEXT,
    links_until INTEGER,
    created_at TEXT NOT NULL,
    started_at TEXT,
    finished_at TEXT
);
CREATE INDEX jobs_by_state ON jobs (state, seq);
CREATE INDEX jobs_finished ON jobs (finished_at, seq) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_claimed ON jobs (worker_id) WHERE state = 'claimed';

CREATE TABLE job_needs (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    needed_id TEXT NOT NULL REFERENCES jobs (id),
    PRIMARY KEY (job_id, needed_id)
) WITHOUT ROWID;
CREATE INDEX job_needs_needed ON job_needs (needed_id);

CREATE TABLE workers (
    id TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL,
    install_id TEXT NOT NULL,
    capabilities TEXT NOT NULL,
    user_agent TEXT NOT NULL DEFAULT '',
    created_at TEXT NOT NULL,
    last_seen_at TEXT,
    deleted_at TEXT
);

CREATE TABLE registrations (
    id TEXT PRIMARY KEY,
    install_id TEXT NOT NULL,
    secret_hash TEXT NOT NULL,
    capabilities TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    source_ip TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'approved', 'rejected')),
    reason TEXT NOT NULL DEFAULT '',
    worker_id TEXT REFERENCES workers (id),
    requested_at TEXT NOT NULL,
    decided_at TEXT
);
CREATE UNIQUE INDEX registrations_pending ON registrations (install_id, source_ip) WHERE status = 'pending';

CREATE TABLE models (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    engine TEXT NOT NULL,
    model_source TEXT NOT NULL,
    vram_gb_estimate REAL NOT NULL DEFAULT 0,
    enabled INTEGER NOT NULL DEFAULT 1,
    created_at TEXT NOT NULL
);

CREATE TABLE logs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    worker_id TEXT NOT NULL,
    job_id TEXT,
    at TEXT NOT NULL,
    level TEXT NOT NULL,
    category TEXT NOT NULL,
    message TEXT NOT NULL
);
CREATE INDEX logs_by_job ON logs (job_id, seq) WHERE job_id IS NOT NULL;
CREATE INDEX logs_by_worker ON logs (worker_id, seq);
