#!/usr/bin/env bash
# Prints an EncryptionConfiguration with a key that was never printed before, for a cluster without a KMS. Pipe it where it
# belongs; what is lost with it is every value.
set -o errexit -o nounset -o pipefail

cat <<END
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [securevalues.secret.grafana.app]
    providers:
      - aesgcm:
          keys:
            - name: key-$(date --utc +%Y%m%d)
              secret: $(head --bytes=32 /dev/urandom | base64)
END
