//! Webhook receiver for Rancher Fleet: a signed push becomes a patch of the GitRepos that follow it.
//!
//! # One delivery, a straight line
//!
//! 1. A driver brings a request: [`adapter::knative`] over HTTP, [`adapter::lambda`] as an event; both serve
//!    [`adapter::http`], where method, size and content type are looked at.
//! 2. [`adapter::service`] puts the delivery under its deadline, hands it to [`retry`] where the cluster cannot take
//!    it, and logs it.
//! 3. [`provider::detect`] finds the row of [`provider::PROVIDERS`] whose header it carries; [`provider::read`] says
//!    which refs it claims to have moved ([`event`]). Nothing of that is believed yet.
//! 4. [`receiver`] looks the [`gitrepo`]s of that repository up in the [`cluster`], and has each of them judged by
//!    the [`verdict`]: the [`secret`] that governs it verifies the [`signature`], or it stays out.
//! 5. What is verified and follows is patched; the [`outcome`] is the answer, the log line and the figures
//!    ([`telemetry`]).
//!
//! Beside serving, the program answers people: [`explain`] says what a delivery would do, [`ping`] whether one would be
//! taken, and [`restore_polling`] goes back.
//!
//! With queues between, [`forward`] sends verified deliveries on, and [`adapter::pull`] takes them where the cluster is.
//!
//! # The floors
//!
//! Nothing points upward; `.ci/imports` checks it.
//!
//! ```text
//! main → assembly → adapter → forward → receiver → verdict → secret → cluster → aws
//! provider → payload, signature → event → repo_url, delivery
//! outcome → event, gitrepo;  telemetry → outcome
//! ```
//!
//! HTTP frameworks and Lambda's crates stay in `adapter`, `kube` in `cluster` and `secret`, the AWS SDK in `aws`,
//! the environment in [`config`]. A provider knows no network, no runtime and no sibling.
//!
//! # To add a provider
//!
//! A file `provider/NAME.rs` with its row (markers, schemes, hosts, where the delivery's id is) and its `parse`; the
//! row in [`provider::PROVIDERS`], where order is meaning; a delivery in `events/`, which the tests then find by
//! themselves; and its key in the table of `docs/contract.md` §3.

pub mod adapter;
pub mod arguments;
mod aside;
pub mod assembly;
#[cfg(feature = "aws")]
pub mod aws;
mod causes;
pub mod cluster;
pub mod config;
pub mod delivery;
pub mod event;
pub mod explain;
#[cfg(feature = "aws")]
pub mod forward;
pub mod gitrepo;
pub mod keys;
pub mod outcome;
mod payload;
pub mod ping;
pub mod provider;
pub mod reason;
pub mod receiver;
mod remembered;
pub mod repo_url;
pub mod restore_polling;
pub mod retry;
pub mod secret;
mod seldom;
pub mod signature;
pub mod telemetry;
pub mod trace;
pub mod verdict;
