-- The three roles of docs/database.md, with passwords from files: run once, as the superuser, by the
-- postgres image when its volume is empty. psql reads the files itself, so that no password stands
-- in a command line.
\set ON_ERROR_STOP on
\set owner_password `cat /run/secrets/owner_password`
\set worker_password `cat /run/secrets/worker_password`
\set viewer_password `cat /run/secrets/viewer_password`

-- A statement that fails is not written to the server's log: it would have a password in it.
SET log_min_error_statement = panic;

CREATE ROLE ws_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE ws_worker LOGIN PASSWORD :'worker_password' CONNECTION LIMIT 600;
CREATE ROLE ws_viewer LOGIN PASSWORD :'viewer_password' CONNECTION LIMIT 20;

ALTER ROLE ws_worker SET statement_timeout = '60s';
ALTER ROLE ws_worker SET idle_in_transaction_session_timeout = '10s';
ALTER ROLE ws_viewer SET statement_timeout = '60s';
ALTER ROLE ws_viewer SET idle_in_transaction_session_timeout = '10s';
ALTER ROLE ws_viewer SET default_transaction_read_only = on;

ALTER DATABASE weightsearch OWNER TO ws_owner;
REVOKE ALL ON DATABASE weightsearch FROM PUBLIC;
GRANT CONNECT ON DATABASE weightsearch TO ws_worker, ws_viewer;
ALTER SCHEMA public OWNER TO ws_owner;
