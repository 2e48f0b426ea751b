-- name: add
INSERT INTO jobs (id, model, kind, engine, task, model_source, title, vram_gb_estimate, created_at)
VALUES (:id, :model, :kind, :engine, :task, :model_source, :title, :vram_gb_estimate, :created_at)
RETURNING *

-- name: add_need
INSERT INTO job_needs (job_id, needed_id) VALUES (:job_id, :needed_id)

-- name: one
SELECT * FROM jobs WHERE id = :id

-- name: list
SELECT * FROM jobs
WHERE (:state IS NULL OR state = :state)
  AND (:after IS NULL OR seq < (SELECT seq FROM jobs WHERE id = :after))
ORDER BY seq DESC
LIMIT :limit

-- name: waiting
-- Without tasks and sources: a task may hold megabytes of inline input, and this is asked whenever a page looks.
SELECT seq, id, state, model, kind, engine, '{}' AS task, '{}' AS model_source, title, vram_gb_estimate, attempts, attempt,
       worker_id, last_worker_id, error, result, prompt, blob, media_type, blob_bytes, meta, links_until, created_at,
       started_at, finished_at
FROM jobs WHERE state IN ('claimed', 'queued') ORDER BY state, seq LIMIT :limit

-- name: finished
SELECT seq, id, state, model, kind, engine, '{}' AS task, '{}' AS model_source, title, vram_gb_estimate, attempts, attempt,
       worker_id, last_worker_id, error, result, prompt, blob, media_type, blob_bytes, meta, links_until, created_at,
       started_at, finished_at
FROM jobs WHERE finished_at IS NOT NULL ORDER BY finished_at DESC, seq DESC LIMIT :limit

-- name: counts
SELECT state, count(*) AS n FROM jobs GROUP BY state

-- name: claim_next
-- The oldest queued job among the (kind, engine) pairs that this worker serves, that fits its memory, that it has
-- not just turned down, and whose needed results are all there.
UPDATE jobs
SET state = 'claimed', worker_id = :worker_id, last_worker_id = :worker_id, error = NULL
WHERE seq = (
    SELECT jobs.seq
    FROM json_each(:serves) AS pair
    JOIN jobs ON jobs.kind = pair.value ->> 0
             AND (pair.value ->> 1 IS NULL OR jobs.engine = pair.value ->> 1)
    WHERE jobs.state = 'queued'
      AND jobs.vram_gb_estimate <= :vram_gb
      AND jobs.id NOT IN (SELECT value FROM json_each(:held))
      AND NOT EXISTS (
          SELECT 1 FROM job_needs JOIN jobs AS needed ON needed.id = job_needs.needed_id
          WHERE job_needs.job_id = jobs.id AND needed.state <> 'done'
      )
    ORDER BY jobs.seq
    LIMIT 1
)
RETURNING *

-- name: release
UPDATE jobs
SET state = 'queued', worker_id = NULL
WHERE state = 'claimed' AND worker_id = :worker_id AND id IN (SELECT value FROM json_each(:ids))
RETURNING id

-- name: claims
SELECT worker_id, id FROM jobs WHERE state = 'claimed' ORDER BY seq

-- name: release_all
UPDATE jobs SET state = 'queued', worker_id = NULL WHERE state = 'claimed' RETURNING id

-- name: finish
UPDATE jobs
SET state = 'done', worker_id = :worker_id, error = NULL, result = :result, prompt = :prompt, blob = :blob,
    media_type = :media_type, blob_bytes = :blob_bytes, meta = :meta, started_at = coalesce(:started_at, started_at),
    finished_at = :now
WHERE id = :id
  AND ((state = 'claimed' AND worker_id = :worker_id) OR (state = 'queued' AND last_worker_id = :worker_id))
  AND (:attempt IS NULL OR attempt = :attempt)
RETURNING *

-- name: fail
-- A claim that failed: one more attempt is counted, and the fence moves so that late results of this one are refused.
UPDATE jobs
SET attempts = attempts + 1, attempt = attempt + 1, error = :error,
    state = CASE WHEN :retryable AND attempts + 1 < :max_attempts THEN 'queued' ELSE 'failed' END,
    worker_id = CASE WHEN :retryable AND attempts + 1 < :max_attempts THEN NULL ELSE worker_id END,
    finished_at = CASE WHEN :retryable AND attempts + 1 < :max_attempts THEN NULL ELSE :now END
WHERE id = :id AND state = 'claimed' AND worker_id = :worker_id
RETURNING *

-- name: cancel
UPDATE jobs SET state = 'cancelled', error = :error, finished_at = :now
WHERE id = :id AND state IN ('queued', 'claimed')
RETURNING *

-- name: retry
UPDATE jobs
SET state = 'queued', attempts = 0, attempt = attempt + 1, worker_id = NULL, last_worker_id = NULL, error = NULL,
    result = NULL, prompt = NULL, blob = NULL, media_type = NULL, blob_bytes = NULL, meta = NULL, links_until = NULL,
    started_at = NULL, finished_at = NULL
WHERE id = :id AND state IN ('done', 'failed', 'cancelled')
RETURNING *

-- name: fall
-- What waits for a result that will not come fails with it, down the whole chain.
WITH RECURSIVE waiting (id, reason) AS (
    SELECT job_needs.job_id, 'needs the result of ' || :id || ', which ' || :how
    FROM job_needs WHERE job_needs.needed_id = :id
    UNION
    SELECT job_needs.job_id, 'needs the result of ' || waiting.id || ', which failed'
    FROM job_needs JOIN waiting ON job_needs.needed_id = waiting.id
)
UPDATE jobs
SET state = 'failed', finished_at = :now,
    error = (SELECT min(waiting.reason) FROM waiting WHERE waiting.id = jobs.id)
WHERE state = 'queued' AND id IN (SELECT waiting.id FROM waiting)
RETURNING id

-- name: needs
SELECT needed.id AS id, needed.state AS state
FROM job_needs JOIN jobs AS needed ON needed.id = job_needs.needed_id
WHERE job_needs.job_id = :id

-- name: keep_links_until
UPDATE jobs SET links_until = :until WHERE id = :id

-- name: blobs
SELECT blob FROM jobs WHERE blob IS NOT NULL
