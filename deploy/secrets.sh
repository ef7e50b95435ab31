#!/bin/sh
# Makes the secrets that docker-compose.yml names, out of random numbers: sh deploy/secrets.sh [FOLDER]
#
# What is there already stays as it is. Containers read the files under a user of their own, so the files are readable
# and the folder is not.
set -eu

folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
chmod 700 "$folder"

random() { od -An -N20 -tx1 /dev/urandom | tr -d ' \n'; }
keep() { [ -s "$folder/$1" ] || printf %s "$2" >"$folder/$1"; chmod 644 "$folder/$1"; }
made() { cat "$folder/$1"; }

keep postgres_password "$(random)"
keep redis_password "$(random)"

keep curation_database_password "$(random)"
keep curation_database_url "postgresql://curation:$(made curation_database_password)@postgres/curation"
keep curation_broker_url "redis://:$(made redis_password)@redis:6379/0"

keep label_studio_database_password "$(random)"
keep label_studio_password "$(random)"        # to log in with, as admin@example.com
keep curation_label_studio_token "$(random)"  # Label Studio takes 40 hexadecimal digits

keep argilla_database_password "$(random)"
keep argilla_database_url "postgresql+asyncpg://argilla:$(made argilla_database_password)@postgres:5432/argilla"
keep argilla_auth_secret "$(random)"
keep argilla_password "$(random)"             # to log in with, as admin
keep curation_argilla_api_key "$(random)"
