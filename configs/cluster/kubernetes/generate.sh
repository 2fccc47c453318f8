#!/bin/bash
# The job of generate.yaml: it has the servers' addresses from the names of their services.
set -euo pipefail
settings=(configs/paper.yaml run.dir=/shared/runs data.root=/shared/data/avqa run.on=ray)

avrt prepare "${settings[@]}"
avrt generate "${settings[@]}" \
    teachers.vision.engine.base_url=http://vision:8000/v1 teachers.vision.engine.concurrency=768 \
    teachers.audio.engine.base_url=http://audio:8000/v1 merger.engine.base_url=http://merger:8000/v1
