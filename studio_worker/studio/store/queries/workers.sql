-- name: list
SELECT * FROM workers WHERE deleted_at IS NULL ORDER BY created_at, id

-- name: one
SELECT * FROM workers WHERE id = :id

-- name: add
INSERT INTO workers (id, token_hash, install_id, capabilities, user_agent, created_at)
VALUES (:id, :token_hash, :install_id, :capabilities, :user_agent, :created_at)

-- name: seen
UPDATE workers SET capabilities = :capabilities, last_seen_at = :at WHERE id = :id

-- name: delete
UPDATE workers SET deleted_at = :at WHERE id = :id AND deleted_at IS NULL RETURNING id

-- name: set_token
UPDATE workers SET token_hash = :token_hash
WHERE deleted_at IS NULL
  AND id = (SELECT worker_id FROM registrations WHERE id = :request_id AND status = 'approved')
RETURNING id

-- name: ask
INSERT INTO registrations (id, install_id, secret_hash, capabilities, user_agent, source_ip, requested_at, polled_at)
SELECT :id, :install_id, :secret_hash, :capabilities, :user_agent, :source_ip, :requested_at, :requested_at
WHERE (SELECT count(*) FROM registrations WHERE status = 'pending') < :most
   OR EXISTS (SELECT 1 FROM registrations
              WHERE install_id = :install_id AND source_ip = :source_ip AND status = 'pending')
ON CONFLICT (install_id, source_ip) WHERE status = 'pending'
DO UPDATE SET secret_hash = excluded.secret_hash, capabilities = excluded.capabilities,
              user_agent = excluded.user_agent, polled_at = excluded.polled_at
RETURNING *

-- name: polled
UPDATE registrations SET polled_at = :at WHERE id = :id AND status = 'pending' RETURNING id

-- name: expire
DELETE FROM registrations WHERE status = 'pending' AND polled_at < :before RETURNING id

-- name: registration
SELECT * FROM registrations WHERE id = :id

-- name: pending
SELECT * FROM registrations WHERE status = 'pending' ORDER BY requested_at, id LIMIT :limit

-- name: approve
UPDATE registrations SET status = 'approved', worker_id = :worker_id, decided_at = :at
WHERE id = :id AND status = 'pending'
RETURNING id

-- name: reject
UPDATE registrations SET status = 'rejected', reason = :reason, decided_at = :at
WHERE id = :id AND status = 'pending'
RETURNING id
