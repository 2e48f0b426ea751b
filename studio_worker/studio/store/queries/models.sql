-- name: list
SELECT * FROM models ORDER BY id

-- name: one
SELECT * FROM models WHERE id = :id

-- name: add
INSERT INTO models (id, kind, engine, model_source, vram_gb_estimate, enabled, created_at)
VALUES (:id, :kind, :engine, :model_source, :vram_gb_estimate, :enabled, :created_at)

-- name: put
INSERT INTO models (id, kind, engine, model_source, vram_gb_estimate, enabled, created_at)
VALUES (:id, :kind, :engine, :model_source, :vram_gb_estimate, :enabled, :created_at)
ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, engine = excluded.engine, model_source = excluded.model_source,
    vram_gb_estimate = excluded.vram_gb_estimate, enabled = excluded.enabled

-- name: delete
DELETE FROM models WHERE id = :id RETURNING id
