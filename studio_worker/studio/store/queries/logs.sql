-- name: add
INSERT INTO logs (worker_id, job_id, at, level, category, message)
VALUES (:worker_id, :job_id, :at, :level, :category, :message)

-- name: trim
DELETE FROM logs WHERE seq <= (SELECT max(seq) FROM logs) - :keep

-- name: after
SELECT * FROM logs
WHERE seq > :after AND (:worker_id IS NULL OR worker_id = :worker_id) AND (:job_id IS NULL OR job_id = :job_id)
ORDER BY seq
LIMIT :limit

-- name: newest
SELECT * FROM (
    SELECT * FROM logs
    WHERE (:worker_id IS NULL OR worker_id = :worker_id) AND (:job_id IS NULL OR job_id = :job_id)
    ORDER BY seq DESC
    LIMIT :limit
) ORDER BY seq
