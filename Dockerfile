# Tidegate on Airflow, for docker-compose.yaml or any other place that runs containers.
# The slim image holds Airflow and nothing we would have to remove.
FROM apache/airflow:slim-3.3.2-python3.12

# Every package by version and hash, from wheels only: nothing is compiled, nothing is looked up.
COPY --chown=airflow:0 requirements-compose.lock /tmp/requirements.lock
RUN pip install --no-cache-dir --require-hashes --only-binary :all: -r /tmp/requirements.lock \
    && rm /tmp/requirements.lock \
    && printf '#!/bin/sh\nexec python -c "from tidegate.cli import main; exit(main())" "$@"\n' \
        > /home/airflow/.local/bin/tidegate \
    && chmod 0755 /home/airflow/.local/bin/tidegate

ENV PYTHONPATH=/opt/airflow/include \
    PYTHONDONTWRITEBYTECODE=1 \
    TIDEGATE_HOME=/opt/airflow/tidegate

# Code belongs to root: a process that runs as airflow cannot change it.
COPY dags /opt/airflow/dags
COPY plugins /opt/airflow/plugins
COPY config /opt/airflow/config
COPY include /opt/airflow/include

# Settings come from the environment only; an empty airflow.cfg keeps Airflow from writing one.
# The two folders become volumes and must belong to airflow before they do.
USER root
RUN touch /opt/airflow/airflow.cfg \
    && install -d -o airflow -g 0 -m 0770 /opt/airflow/logs /opt/airflow/tidegate
USER airflow
