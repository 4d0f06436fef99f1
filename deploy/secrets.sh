#!/bin/sh
# Makes up what docker-compose.yml and deploy/kubernetes/ need to keep secret: one file each, in
# secrets/ or the folder that is named. What is there already is kept.
set -eu
umask 077
folder=${1:-secrets}
mkdir -p "$folder"
chmod 700 "$folder"
for name in postgres_password owner_password worker_password viewer_password dashboard_token; do
    if [ ! -e "$folder/$name" ]; then
        openssl rand -hex 32 > "$folder/$name.new"
        mv "$folder/$name.new" "$folder/$name"
    fi
done
# The database proves with it who it is (sslmode=verify-full), under these names and no other.
if [ ! -e "$folder/database_certificate" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
        -subj /CN=postgres -addext "subjectAltName=DNS:postgres,DNS:localhost" \
        -keyout "$folder/database_key" -out "$folder/database_certificate.new" 2> "$folder/openssl.log"
    rm "$folder/openssl.log"
    mv "$folder/database_certificate.new" "$folder/database_certificate"
fi
# The users in the containers are others than who runs this; on this machine the folder is closed.
chmod 644 "$folder"/*
echo "secrets are in $folder"
