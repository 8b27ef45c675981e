// The files which the API server and the tests read: certificates, tokens,
// audit policy, kubeconfigs; and the flags that name them.
package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"strconv"
)

// The function may do nothing until a test grants it something.
const tokens = `%s,admin,admin,system:masters
%s,fleet-webhook,fleet-webhook,fleet-webhook
`

// auditPolicy leaves out what no test asks for: the API server's talk with
// itself, our own waiting, events and leases.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    users: [system:apiserver]
  - level: None
    users: [admin]
    nonResourceURLs: [/readyz]
  - level: None
    resources:
      - {group: "", resources: [events]}
      - {group: events.k8s.io, resources: [events]}
      - {group: coordination.k8s.io, resources: [leases]}
  - level: Metadata
`

const kubeconfig = `apiVersion: v1
kind: Config
clusters:
  - name: test
    cluster:
      server: %s
      certificate-authority-data: %s
users:
  - name: %[3]s
    user:%s
contexts:
  - name: %[3]s
    context: {cluster: test, user: %[3]s, namespace: fleet-system}
current-context: %[3]s
`

func (f *folder) writeFiles() error {
	contents := map[string]string{
		"ca.crt":              f.CA,
		"apiserver.crt":       f.ServingCert,
		"apiserver.key":       f.ServingKey,
		"service-account.key": f.ServiceAccountKey,
		"tokens.csv":          fmt.Sprintf(tokens, f.AdminToken, f.FunctionToken),
		"audit-policy.yaml":   auditPolicy,
		"kubeconfig":          f.kubeconfig("admin", token(f.AdminToken)),
		"function.kubeconfig": f.kubeconfig("fleet-webhook", token(f.FunctionToken)),
		"client.kubeconfig":   f.kubeconfig("fleet-webhook", f.clientCertificate()),
	}
	for name, content := range contents {
		if err := os.WriteFile(f.path(name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (f *folder) kubeconfig(user, credentials string) string {
	ca := base64.StdEncoding.EncodeToString([]byte(f.CA))
	return fmt.Sprintf(kubeconfig, f.server(), ca, user, credentials)
}

func token(token string) string { return "\n      token: " + token }

func (f *folder) clientCertificate() string {
	encoded := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("\n      client-certificate-data: %s\n      client-key-data: %s",
		encoded([]byte(f.ClientCert)), encoded([]byte(f.ClientKey)))
}

func apiserverFlags(f *folder) []string {
	return []string{
		"--etcd-servers=" + f.etcd(),
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(f.Port),
		"--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.0.0.0/24",
		"--cert-dir=" + f.path("certificates"),
		"--tls-cert-file=" + f.path("apiserver.crt"),
		"--tls-private-key-file=" + f.path("apiserver.key"),
		"--token-auth-file=" + f.path("tokens.csv"),
		"--client-ca-file=" + f.path("ca.crt"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + f.path("service-account.key"),
		"--service-account-signing-key-file=" + f.path("service-account.key"),
		"--authorization-mode=RBAC",
		// Without a controller manager nobody makes the service account that
		// this one wants every pod to have.
		"--disable-admission-plugins=ServiceAccount",
		"--audit-policy-file=" + f.path("audit-policy.yaml"),
		"--audit-log-path=" + f.path("audit.log"),
		"--audit-log-mode=blocking",
		// Megabytes: never put aside in the middle of a test.
		"--audit-log-maxsize=100000",
	}
}
