#!/usr/bin/env bash
# Prints an EncryptionConfiguration with a key that was never printed before, for a cluster without a KMS. Pipe it where it
# belongs; what is lost with it is every value. The name ends in random digits: two keys of one name cannot be used together.
set -o errexit -o nounset -o pipefail

name=key-$(date -u +%Y%m%d)-$(od -An -tx4 -N4 /dev/urandom | tr -d ' ')
secret=$(head -c 32 /dev/urandom | base64)
[[ ${name} =~ ^key-[0-9]{8}-[0-9a-f]{8}$ && ${#secret} == 44 ]] || {
    echo "date, od, head or base64 work in another way here: write the configuration by hand" >&2
    exit 1
}
cat <<END
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [securevalues.secret.grafana.app]
    providers:
      - aesgcm:
          keys:
            - name: ${name}
              secret: ${secret}
END
