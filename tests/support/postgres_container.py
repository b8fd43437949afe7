"""Postgres in a container, for machines whose Docker engine answers: set up as the local stack's server."""

POSTGRES_IMAGE = "postgres:18-alpine"


def postgres_container():
    from testcontainers.community.postgres import PostgresContainer

    # The local stack's own settings; the image would allow a hundred connections and sort by a language's rules.
    return PostgresContainer(
        POSTGRES_IMAGE,
        driver=None,
        env={"POSTGRES_INITDB_ARGS": "--encoding=UTF8 --locale=C"},
        command="-c max_connections=300",
    )
