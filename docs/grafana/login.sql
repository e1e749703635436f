-- The login of the dashboard: it reads the views, names included, and can do nothing else.
--
-- Run by someone who may create roles, once the ledger is there; again, it sets the password anew:
--     psql -v password=… -f docs/grafana/login.sql
\set ON_ERROR_STOP on
select 'create role deskledger_grafana'
 where not exists (select from pg_roles where rolname = 'deskledger_grafana')
\gexec
alter role deskledger_grafana login password :'password' connection limit 8;
grant deskledger_reader to deskledger_grafana;
alter role deskledger_grafana set default_transaction_read_only = on;
alter role deskledger_grafana set statement_timeout = '30s';
