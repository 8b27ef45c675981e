//! Lists of the embedded API server: pages, and the Table that the real one prints.

use std::collections::HashMap;

use serde_json::{Value, json};

/// What a request asks for beside its path.
pub struct Request {
    pub query: HashMap<String, String>,
    pub accept: String,
    pub content_type: String,
    pub body: Value,
}

/// A page of a list: whole with `resourceVersion=0`, which makes the real server ignore `limit`.
pub fn list(items: &[Value], version: u64, request: &Request, prints_no_repo: bool) -> Value {
    let number = |name: &str| request.query.get(name).and_then(|text| text.parse::<usize>().ok());
    let from_cache = request.query.get("resourceVersion").is_some_and(|version| version == "0");
    let start = number("continue").unwrap_or(0);
    let limit = number("limit").filter(|_| !from_cache).unwrap_or(usize::MAX);
    let page: Vec<_> = items.iter().skip(start).take(limit).cloned().collect();
    let next = start + page.len();
    let next = if next < items.len() { next.to_string() } else { String::new() };
    let metadata = json!({ "resourceVersion": version.to_string(), "continue": next });
    if !request.accept.contains("as=Table") {
        return json!({ "kind": "List", "items": page, "metadata": metadata });
    }
    let with_metadata =
        request.query.get("includeObject").is_some_and(|object| object == "Metadata");
    let row = |item: &Value| {
        let object = with_metadata.then(|| json!({ "metadata": item["metadata"] }));
        json!({ "cells": [item["metadata"]["name"], item["spec"]["repo"], item["status"]["commit"]], "object": object })
    };
    let repo = if prints_no_repo { "Url" } else { "Repo" };
    let columns: Vec<_> = ["Name", repo, "Commit"].map(|name| json!({ "name": name })).into();
    // serde_json sorts keys and the real server does not: rows come last there.
    let (metadata, columns, rows) = (
        metadata.to_string(),
        json!(columns).to_string(),
        json!(page.iter().map(row).collect::<Vec<_>>()).to_string(),
    );
    let table = format!(
        r#"{{"kind":"Table","metadata":{metadata},"columnDefinitions":{columns},"rows":{rows}}}"#
    );
    Value::String(table)
}
