#!/usr/bin/env bash
# Prints an EncryptionConfiguration with a key that was never printed before, for a cluster without a KMS. Pipe it where it
# belongs; what is lost with it is every value. The name ends in random digits: two keys of one name cannot be used together.
set -o errexit -o nounset -o pipefail

cat <<END
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [securevalues.secret.grafana.app]
    providers:
      - aesgcm:
          keys:
            - name: key-$(date --utc +%Y%m%d)-$(od --address-radix=n --format=x4 --read-bytes=4 /dev/urandom | tr --delete " ")
              secret: $(head --bytes=32 /dev/urandom | base64)
END
