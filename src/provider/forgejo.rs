//! Forgejo: [webhooks](https://forgejo.org/docs/latest/user/webhooks/), and the
//! [code that sends them](https://codeberg.org/forgejo/forgejo/src/branch/forgejo/services/webhook/shared/payloader.go).
//!
//! Its payloads are Gitea's, and a form is signed over its JSON. It sends Gitea's and Gogs' headers too, and what was
//! Gitea before may have the secret under their keys.

use super::{Hosts, IdIn, Provider, gitea};
use crate::signature::{Scheme, Signed};

pub(super) static PROVIDER: Provider = Provider {
    name: "forgejo",
    markers: &["x-forgejo-event", "x-forgejo-delivery", "x-forgejo-signature"],
    known_unmarked: None,
    event_header: Some("x-forgejo-event"),
    delivery_id: IdIn::Headers(&["x-forgejo-delivery"]),
    schemes: &[signed_with("forgejo"), signed_with("gitea"), signed_with("gogs")],
    hosts: Hosts::SelfHosted,
    parse: gitea::parse,
};

const fn signed_with(key: &'static str) -> Scheme {
    Scheme::HmacSha256 { key, header: "x-forgejo-signature", prefix: "", over: Signed::Json }
}
