-- Claims the first free point of a study for a worker, and takes over one whose lease ran out, in
-- one statement: nothing lies between finding a point and having it.
--
-- Each condition on a point stands in the query that locks it: PostgreSQL evaluates them once more
-- on the row as it is when the lock is had, so a point that another worker took meanwhile is not
-- taken twice. Moved into a CTE of their own they would be of the row as it was.
--
--   :of_study   the study's id
--   :by_worker  the worker's name, :on_device its device
--   :lease_s    seconds until the claim ends unless it is renewed
--   :at_most    attempts that a point may lose before it is given up
--   :budgeted   whether the budget was looked at; a study with a budget is not claimed from before
--   :allowed    'all' points of the search, those 'started' before, or 'none'; promotions always
WITH
-- A claim whose answer was lost on its way: the worker has a point, and is told so again.
held AS (
    SELECT id
    FROM ws_points
    WHERE study_id = :of_study AND state = 'leased' AND worker = :by_worker
    LIMIT 1
),
-- Leases before this moment have run out. While the server was away nobody could renew one, so its
-- return gives everybody one lease more; but not to those of whom it is known that they are gone:
-- `study_control.sign_off` dates their leases back to the epoch.
due AS (
    SELECT
        CASE
            WHEN pg_postmaster_start_time() + make_interval(secs => :lease_s) < now() THEN now()
            ELSE timestamptz '1970-01-02'
        END AS moment
),
-- Lost by its worker once too often.
dying AS (
    SELECT id
    FROM ws_points
    WHERE study_id = :of_study
      AND state = 'leased'
      AND lease_until < (SELECT moment FROM due)
      AND spent + 1 >= :at_most
      AND worker <> :by_worker
    FOR UPDATE SKIP LOCKED
),
given_up AS (
    UPDATE ws_points AS p
    SET state = 'failed',
        spent = p.spent + 1,
        reason = format('its worker was lost (tried %s times)', p.spent + 1)
    FROM dying
    WHERE p.id = dying.id
    RETURNING p.id
),
chosen AS (
    SELECT id
    FROM ws_points
    WHERE study_id = :of_study
      AND EXISTS (
          SELECT 1
          FROM ws_studies AS s
          WHERE s.id = :of_study
            AND s.state = 'running'
            AND (:budgeted OR (s.budget IS NULL AND s.deadline IS NULL))
      )
      AND NOT EXISTS (SELECT 1 FROM held)
      AND (rung > 0 OR :allowed = 'all' OR (:allowed = 'started' AND attempt > 0))
      AND (
          repeat = 0
          OR weights IS NOT NULL
          OR NOT EXISTS ( -- the first run at its place is still to be chosen
              SELECT 1
              FROM ws_points AS f
              WHERE f.study_id = :of_study
                AND f.rung = ws_points.rung
                AND f.place = ws_points.place
                AND f.repeat = 0
                AND f.weights IS NULL
                AND f.state NOT IN ('done', 'failed', 'dropped')
          )
      )
      AND state NOT IN ('done', 'failed', 'dropped') -- as the partial index has it
      AND (
          state <> 'leased'
          OR (
              lease_until < (SELECT moment FROM due)
              AND spent + 1 < :at_most
          )
      )
    ORDER BY rung, number
    LIMIT 1
    FOR UPDATE SKIP LOCKED
),
claimed AS (
    UPDATE ws_points AS p
    SET state = 'leased',
        worker = :by_worker,
        attempt = p.attempt + 1,
        spent = p.spent + CASE WHEN p.state = 'leased' THEN 1 ELSE 0 END, -- taken over
        lease_until = now() + make_interval(secs => :lease_s)
    FROM chosen
    WHERE p.id = chosen.id
    RETURNING p.*
),
lost AS (
    UPDATE ws_attempts AS a
    SET ended_at = now(),
        outcome = 'lost',
        reason = 'its lease ran out',
        -- Points that its worker trained at once have had a share of its time each: those that are
        -- still open, and those of them that were taken over before this one.
        seconds = extract(epoch FROM now() - a.started_at) / (
            SELECT count(*)
            FROM ws_attempts AS b
            WHERE b.worker = a.worker
              AND (b.outcome IS NULL OR b.outcome = 'lost' AND b.ended_at > a.started_at)
        )
    WHERE point_id IN (SELECT id FROM given_up UNION ALL SELECT id FROM claimed)
      AND outcome IS NULL
),
begun AS (
    INSERT INTO ws_attempts (point_id, attempt, worker, device)
    SELECT id, attempt, :by_worker, :on_device FROM claimed
)
-- Then the rows of `claimed` and `held`, by number: claim.py adds it, which names their columns.
