//! The folder with what others published: real deliveries and known answers, outside of the repository.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test uses a part of it")]

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// A real delivery.
pub struct Published {
    /// Its file without ending, `<provider>/<event>`.
    pub file: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What it is signed with, where that was published too.
    pub secret: Option<String>,
}

/// `$FLEET_WEBHOOK_SHARED`, else `../shared`; `None` where there is none, which is said on the standard error.
pub fn folder() -> Option<PathBuf> {
    let named = env::var_os("FLEET_WEBHOOK_SHARED").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"));
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!(
        "skipped: there is no {} (FLEET_WEBHOOK_SHARED names another place)",
        folder.display()
    );
    None
}

/// The real deliveries in it that have headers, in the order of their names.
pub fn deliveries(folder: &Path) -> Vec<Published> {
    let mut deliveries = Vec::new();
    for provider in names(&folder.join("payloads")) {
        let here = folder.join("payloads").join(&provider);
        if !here.is_dir() {
            continue;
        }
        for event in names(&here).iter().filter_map(|name| name.strip_suffix(".headers.json")) {
            deliveries.push(published(&here, &provider, event));
        }
    }
    assert!(!deliveries.is_empty(), "{} has no payloads", folder.display());
    deliveries
}

fn published(folder: &Path, provider: &str, event: &str) -> Published {
    let about = fs::read(folder.join(format!("{event}.headers.json"))).expect("is a file");
    let about: Value = serde_json::from_slice(&about).expect("is JSON");
    let headers = about.get("headers").and_then(Value::as_object).expect("has headers");
    let text = |value: &Value| value.as_str().expect("is text").to_owned();
    Published {
        file: format!("{provider}/{event}"),
        headers: headers.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        body: fs::read(folder.join(format!("{event}.json"))).expect("is a file"),
        secret: about.get("secret").and_then(Value::as_str).map(str::to_owned),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("is a folder").flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
