//! Kubeconfigs, and servers that no program should have to wait for.

use std::net::TcpListener;

use serde_json::{Value, json};

/// One that names a cluster and a user.
pub fn kubeconfig(cluster: &Value, user: &Value) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{ "name": "test", "cluster": cluster }],
        "users": [{ "name": "function", "user": user }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "function" } }],
    })
    .to_string()
}

/// A server that accepts connections, or lets the kernel do so, and never answers. Silent until it is dropped.
pub struct SilentServer(TcpListener);

impl SilentServer {
    pub fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("a free port"))
    }

    pub fn kubeconfig(&self) -> String {
        let url = format!("http://{}", self.0.local_addr().expect("is bound"));
        kubeconfig(&json!({ "server": url }), &json!({ "token": "function" }))
    }
}
