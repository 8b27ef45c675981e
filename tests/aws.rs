//! The function with AWS around it: Secrets Manager, SQS and EKS as moto has them, under the Runtime Interface Emulator.

#![cfg(all(feature = "aws", feature = "knative", feature = "lambda"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "tests may panic")]

mod support;

#[path = "aws/clusters.rs"]
mod clusters;
#[path = "aws/proxies.rs"]
mod proxies;
#[path = "aws/queue.rs"]
mod queue;
#[path = "aws/sam_local.rs"]
mod sam_local;
#[path = "aws/secrets.rs"]
mod secrets;
#[path = "aws/unreachable.rs"]
mod unreachable;
