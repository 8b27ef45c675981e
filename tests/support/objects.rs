//! What the embedded API server holds, and how the real one changes it: subresources, patches, versions.

use std::collections::{BTreeMap, HashMap};

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::watch::{Change, Watched};

/// A request that is refused, with its status.
pub struct Refused(pub StatusCode);

/// Which object or list a path means.
pub struct Place {
    pub namespace: Option<String>,
    pub resource: String,
    pub name: Option<String>,
    status: bool,
}

/// All objects, by resource, namespace and name.
#[derive(Default)]
pub struct Objects {
    objects: BTreeMap<(String, String, String), Value>,
    version: u64,
    changes: Vec<Change>,
}

impl Place {
    /// Reads the path after the namespace.
    pub fn new(namespace: Option<&str>, rest: &[&str]) -> Option<Self> {
        let (resource, name, status) = match rest {
            [resource] => (resource, None, false),
            [resource, name] => (resource, Some((*name).to_owned()), false),
            [resource, name, "status"] => (resource, Some((*name).to_owned()), true),
            _ => return None,
        };
        Some(Self {
            namespace: namespace.map(str::to_owned),
            resource: (*resource).to_owned(),
            name,
            status,
        })
    }

    fn key(&self) -> Result<(String, String, String), Refused> {
        match (&self.namespace, &self.name) {
            (Some(namespace), Some(name)) => {
                Ok((self.resource.clone(), namespace.clone(), name.clone()))
            }
            _ => Err(Refused(StatusCode::BAD_REQUEST)),
        }
    }
}

impl Objects {
    /// The version of the last change.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The first change of what is watched after a version.
    pub fn change_after(&self, since: u64, watched: &Watched) -> Option<Change> {
        let ours = |change: &&Change| {
            change.version > since
                && change.resource == watched.resource
                && watched
                    .namespace
                    .as_ref()
                    .is_none_or(|wanted| change.object["metadata"]["namespace"] == json!(wanted))
        };
        self.changes.iter().find(ours).cloned()
    }

    fn changed(&mut self, event: &'static str, place: &Place, object: &Value) {
        let (resource, object) = (place.resource.clone(), object.clone());
        self.changes.push(Change { version: self.version, event, resource, object });
    }

    pub fn create(&mut self, place: &Place, mut object: Value) -> Result<Value, Refused> {
        let namespace = place.namespace.clone().ok_or(Refused(StatusCode::BAD_REQUEST))?;
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.version += 1;
        object["metadata"]["namespace"] = json!(namespace);
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        object["metadata"]["uid"] = json!(format!("uid-{}", self.version));
        object["metadata"]["generation"] = json!(1);
        if place.resource == "gitrepos"
            && let Some(object) = object.as_object_mut()
        {
            object.remove("status");
        }
        if let Some(text) = object["stringData"].as_object().cloned() {
            use base64::{Engine as _, prelude::BASE64_STANDARD};
            for (key, value) in text {
                object["data"][key] =
                    json!(BASE64_STANDARD.encode(value.as_str().unwrap_or_default()));
            }
            object.as_object_mut().map(|object| object.remove("stringData"));
        }
        let key = (place.resource.clone(), namespace, name);
        if self.objects.contains_key(&key) {
            return Err(Refused(StatusCode::CONFLICT));
        }
        self.objects.insert(key, object.clone());
        self.changed("ADDED", place, &object);
        Ok(object)
    }

    pub fn read(&self, place: &Place) -> Result<Value, Refused> {
        self.objects.get(&place.key()?).cloned().ok_or(Refused(StatusCode::NOT_FOUND))
    }

    pub fn delete(&mut self, place: &Place) -> Result<Value, Refused> {
        let mut object =
            self.objects.remove(&place.key()?).ok_or(Refused(StatusCode::NOT_FOUND))?;
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.changed("DELETED", place, &object);
        Ok(object)
    }

    /// The objects of a namespace or of all, narrowed by `fieldSelector=metadata.name=…`.
    pub fn list(&self, place: &Place, query: &HashMap<String, String>) -> Vec<Value> {
        let wanted =
            query.get("fieldSelector").and_then(|selector| selector.strip_prefix("metadata.name="));
        let matches = |(resource, namespace, name): &(String, String, String)| {
            *resource == place.resource
                && place.namespace.as_ref().is_none_or(|wanted| wanted == namespace)
                && wanted.is_none_or(|wanted| wanted == name)
        };
        self.objects
            .iter()
            .filter(|(key, _)| matches(key))
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// Patches an object: `/status` drops changes of the spec, the object itself those of the status.
    pub fn patch(
        &mut self,
        place: &Place,
        content_type: &str,
        patch: &Value,
        manager: &str,
    ) -> Result<Value, Refused> {
        let before = self.read(place)?;
        let mut after = before.clone();
        match content_type {
            "application/merge-patch+json" => {
                let stale = patch["metadata"]["resourceVersion"].as_str();
                if stale
                    .is_some_and(|version| before["metadata"]["resourceVersion"] != json!(version))
                {
                    return Err(Refused(StatusCode::CONFLICT));
                }
                json_patch::merge(&mut after, patch);
            }
            "application/json-patch+json" => json_patch(&mut after, patch)?,
            _ => return Err(Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE)),
        }
        if place.resource == "gitrepos" {
            let kept: &[&str] = if place.status { &["spec", "metadata"] } else { &["status"] };
            for field in kept {
                keep(&before, &mut after, field);
            }
        }
        let interval = after["spec"]["pollingInterval"].as_str();
        if interval.is_some_and(|interval| interval.parse::<kube::core::Duration>().is_err()) {
            return Err(Refused(StatusCode::UNPROCESSABLE_ENTITY));
        }
        if after["spec"]["pollingInterval"] != before["spec"]["pollingInterval"] {
            after["metadata"]["managedFields"] = json!([{
                "manager": manager, "operation": "Update",
                "fieldsV1": { "f:spec": { "f:pollingInterval": {} } },
            }]);
        }
        if after != before {
            self.version += 1;
            after["metadata"]["resourceVersion"] = json!(self.version.to_string());
            if after["spec"] != before["spec"] {
                let generation = before["metadata"]["generation"].as_u64().unwrap_or(1) + 1;
                after["metadata"]["generation"] = json!(generation);
            }
            self.changed("MODIFIED", place, &after);
        }
        self.objects.insert(place.key()?, after.clone());
        Ok(after)
    }
}

/// Sets a field back to what it was.
fn keep(before: &Value, after: &mut Value, field: &str) {
    let Some(after) = after.as_object_mut() else { return };
    match before.get(field) {
        Some(value) => after.insert(field.to_owned(), value.clone()),
        None => after.remove(field),
    };
}

/// Applies a JSON patch; as in Kubernetes, a missing path tests equal to null.
fn json_patch(object: &mut Value, patch: &Value) -> Result<(), Refused> {
    let unprocessable = || Refused(StatusCode::UNPROCESSABLE_ENTITY);
    for operation in patch.as_array().ok_or_else(unprocessable)? {
        let path = operation["path"].as_str().unwrap_or_default();
        if operation["op"] == "test" && operation["value"].is_null() {
            if object.pointer(path).is_some_and(|value| !value.is_null()) {
                return Err(unprocessable());
            }
            continue;
        }
        let operation = serde_json::from_value(json!([operation])).map_err(|_| unprocessable())?;
        let operation: json_patch::Patch = operation;
        json_patch::patch(object, &operation).map_err(|_| unprocessable())?;
    }
    Ok(())
}
