ALTER TABLE registrations ADD COLUMN polled_at TEXT;
UPDATE registrations SET polled_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE status = 'pending';
