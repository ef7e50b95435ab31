#!/bin/sh
# A role and a database for each program, so that none can read another's. Postgres's image runs this once, on an
# empty volume.
set -eu

for name in curation label_studio argilla; do
  psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
       --set name="$name" --set secret="${SECRETS:-/run/secrets}/${name}_database_password" <<'SQL'
\set password `cat :'secret'`
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name" ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done
