-- Claims points that a worker may train beside one that it has just claimed, as far as they are free
-- at once: of the same rung, stage, repeat, fold and seed, so that they train on the same frames in the
-- same order and as far, and of the same parameters but for those in which points that are trained
-- together may differ.
--
-- A point that was lost or failed before, or ran out of memory, is left out, and gets nobody beside
-- it: whatever took its worker down must not take the others along again and again. As in
-- claim.sql, each condition on a point stands in the query that locks it.
--
--   :of_study   the study's id
--   :of_point   the point that the worker has, :of_attempt its attempt
--   :by_worker  the worker's name, :on_device its device
--   :lease_s    seconds until the claims end unless they are renewed
--   :most       how many points at most, :room how many that it does not have already
--   :apart      names of the parameters that may differ
--   :allowed    'all' points of the search, those 'started' before, or 'none'; promotions always
WITH
leader AS (
    SELECT id, study_id, rung, seed, repeat, fold, stage, params - :apart AS params
    FROM ws_points
    WHERE id = :of_point
      AND attempt = :of_attempt
      AND worker = :by_worker
      AND state = 'leased'
      AND spent = 0
      AND shrink = 0
),
-- Claims whose answer was lost on its way: the worker has the points, and is told so again.
held AS (
    SELECT p.id
    FROM ws_points AS p
    JOIN leader AS l USING (study_id, rung, seed, repeat, stage)
    WHERE p.study_id = :of_study
      AND p.state = 'leased'
      AND p.worker = :by_worker
      AND p.id <> l.id
      AND p.fold IS NOT DISTINCT FROM l.fold
      AND p.params - :apart = l.params
    LIMIT :most
),
chosen AS (
    SELECT p.id
    FROM ws_points AS p
    JOIN leader AS l USING (study_id, rung, seed, repeat, stage)
    WHERE p.study_id = :of_study
      AND EXISTS (SELECT 1 FROM ws_studies AS s WHERE s.id = :of_study AND s.state = 'running')
      AND NOT EXISTS (SELECT 1 FROM held)
      AND (p.rung > 0 OR :allowed = 'all' OR (:allowed = 'started' AND p.attempt > 0))
      AND p.state NOT IN ('done', 'failed', 'dropped') -- as the partial index has it
      AND p.state <> 'leased'
      AND p.spent = 0
      AND p.shrink = 0
      AND p.weights IS NOT NULL -- an adaptive sampler has chosen
      AND p.fold IS NOT DISTINCT FROM l.fold
      AND p.params - :apart = l.params
    ORDER BY p.rung, p.number
    LIMIT least(:most, :room)
    FOR UPDATE OF p SKIP LOCKED
),
claimed AS (
    UPDATE ws_points AS p
    SET state = 'leased',
        worker = :by_worker,
        attempt = p.attempt + 1,
        lease_until = now() + make_interval(secs => :lease_s)
    FROM chosen
    WHERE p.id = chosen.id
    RETURNING p.*
),
begun AS (
    INSERT INTO ws_attempts (point_id, attempt, worker, device)
    SELECT id, attempt, :by_worker, :on_device FROM claimed
)
-- Then the rows of `claimed` and `held`, by number: claim.py adds it, which names their columns.
