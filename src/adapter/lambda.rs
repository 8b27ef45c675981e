//! The Lambda runtime as driver: an HTTP event of whatever kind goes to the same router, `lambda/events` and
//! `lambda/queue` take the rest.

mod events;
mod queue;

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, SystemTime},
};

use axum::{Router, body::Body, response::Response};
use futures::FutureExt as _;
use http::{Request, Uri};
use lambda_http::{
    Adapter, RequestExt as _,
    request::{LambdaRequest, RequestContext},
};
use lambda_runtime::{Context, Diagnostic, Error, LambdaEvent, Runtime, service_fn};
use serde::{Deserialize, Serialize};
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};
use tokio::time::{Instant, timeout_at};
use tower::{Service as _, ServiceExt as _};

use crate::{
    adapter::{
        arrival::{Arrival, Invocation},
        http::router,
        log,
        service::Service,
    },
    outcome::{Kind, Outcome},
    provider::codecommit,
};

/// What is left of an invocation's time when the answer is given, for the way back.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// Asks Lambda for events until the process ends; `announced` is done within the first ones, since the process is
/// frozen between them.
///
/// # Errors
/// The runtime's API cannot be reached.
pub async fn serve(
    service: Service,
    announced: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let function = Function::new(service);
    let announced = announced.boxed().shared();
    let handle = |event: LambdaEvent<Box<RawValue>>| {
        let (function, announced) = (function.clone(), announced.clone());
        // Boxed, or the compiler nests the types of all that it calls in one, deeper than it can look.
        async move {
            let until = deadline(&event.context, function.service.deadline);
            let handled = function.handle(event);
            let (answer, _) = tokio::join!(handled, timeout_at(until, announced));
            answer
        }
        .boxed_local()
    };
    Runtime::new(service_fn(handle)).run().await
}

/// Answers events, one after the other.
#[derive(Clone, Debug)]
pub struct Function {
    service: Service,
    router: Router,
}

/// What tells the kinds of events apart. A sender has no say in it: what he sends is inside `body`.
#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(borrow, rename = "requestContext")]
    request_context: Option<&'a RawValue>,
    #[serde(borrow, rename = "detail-type")]
    detail_type: Option<&'a RawValue>,
    #[serde(borrow, rename = "Records")]
    records: Option<&'a RawValue>,
}

impl Function {
    /// With what answers requests.
    pub fn new(service: Service) -> Self {
        Self { router: router(service.clone()), service }
    }

    /// Answers an event of any kind.
    ///
    /// # Errors
    /// The event is of no kind, or could not be dealt with: Lambda sends it again.
    pub async fn handle(
        &self,
        event: LambdaEvent<Box<RawValue>>,
    ) -> Result<Box<RawValue>, Diagnostic> {
        let (service, LambdaEvent { payload, context }) = (&self.service, event);
        let invocation = Invocation {
            request_id: context.request_id.clone(),
            deadline: deadline(&context, service.deadline),
        };
        let arn = context.invoked_function_arn.clone();
        match serde_json::from_str(payload.get()) {
            Ok(Shape { request_context: Some(_), .. }) => {
                Ok(http(service, self.router.clone(), &payload, context, invocation).await)
            }
            Ok(Shape { detail_type: Some(_), .. }) => {
                events::codecommit(service, &payload, &invocation, &arn).await
            }
            Ok(Shape { records: Some(_), .. })
                if codecommit::is_trigger(payload.get().as_bytes()) =>
            {
                events::codecommit(service, &payload, &invocation, &arn).await
            }
            Ok(Shape { records: Some(records), .. }) => {
                queue::redeliver(service, records, &invocation).await.ok_or_else(unknown)
            }
            _ => Err(unknown()),
        }
    }
}

fn unknown() -> Diagnostic {
    Diagnostic {
        error_type: "UnknownEvent".to_owned(),
        error_message:
            "no event of API Gateway, a Function URL, a load balancer, EventBridge, CodeCommit or SQS"
                .to_owned(),
    }
}

/// Answers an HTTP event.
async fn http(
    service: &Service,
    router: Router,
    event: &RawValue,
    context: Context,
    invocation: Invocation,
) -> Box<RawValue> {
    let malformed = malformed_by(service, &invocation);
    let serve = service_fn(move |request: lambda_http::Request| {
        let request = to_axum(request, invocation.clone());
        let router = router.clone();
        async move {
            let Ok(response) = router.oneshot(request).await;
            Ok::<Response, Infallible>(response)
        }
    });
    let Ok(request) = serde_json::from_str(event.get()) else { return malformed() };
    let event = LambdaEvent::new(with_repeated_headers(request), context);
    // Hostile hosts, query strings and base64 make lambda_http panic while it converts the request.
    let called = catch_unwind(AssertUnwindSafe(|| Adapter::from(serve).call(event)));
    match called {
        Ok(answer) => {
            let Ok(response) = answer.await;
            raw(&response)
        }
        Err(_) => malformed(),
    }
}

fn to_axum(request: lambda_http::Request, invocation: Invocation) -> Request<Body> {
    let path = path(&request);
    let (mut parts, body) = request.into_parts();
    parts.uri = path;
    parts.extensions.clear();
    parts.extensions.insert(invocation);
    Request::from_parts(parts, Body::new(body))
}

/// The path as the caller sees it behind the stage's name.
fn path(request: &lambda_http::Request) -> Uri {
    let stage = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV1(context)) => context.stage.as_deref(),
        Some(RequestContext::ApiGatewayV2(context)) => context.stage.as_deref(),
        _ => None,
    };
    let path = request.raw_http_path();
    let within = stage.and_then(|stage| path.strip_prefix('/')?.strip_prefix(stage));
    within.filter(|rest| rest.starts_with('/')).unwrap_or(path).parse().unwrap_or_default()
}

/// A REST API sends headers twice, alone and with all their values; lambda_http would keep one value of each.
fn with_repeated_headers(mut request: LambdaRequest) -> LambdaRequest {
    if let LambdaRequest::ApiGatewayV1(event) = &mut request {
        for name in event.multi_value_headers.keys() {
            event.headers.remove(name);
        }
    }
    request
}

/// Answers and logs a request that is no HTTP, in the form that every kind of event takes.
fn malformed_by<'s>(
    service: &'s Service,
    invocation: &Invocation,
) -> impl Fn() -> Box<RawValue> + use<'s> {
    let arrival = Arrival::of_event(invocation);
    move || {
        let outcome =
            Outcome::new(Kind::Malformed).because("the event cannot be read as an HTTP request");
        log::answered(&service.metrics, &outcome, &arrival);
        raw(&json!({
            "statusCode": outcome.kind.status().as_u16(),
            "headers": {"content-type": "application/json"},
            "multiValueHeaders": {"content-type": ["application/json"]},
            "body": outcome.json().to_string(),
            "isBase64Encoded": false,
        }))
    }
}

fn raw(answer: &impl Serialize) -> Box<RawValue> {
    to_raw_value(answer).expect("answers are made of strings and numbers")
}

/// By when to answer. Lambda's own deadline is by the wall clock; `cargo lambda watch` gives one in 1970, which is none.
fn deadline(context: &Context, otherwise: Duration) -> Instant {
    let left = context.deadline().duration_since(SystemTime::now());
    Instant::now() + left.map_or(otherwise, |left| left.saturating_sub(ANSWER_TIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_a_second_before_lambdas_own() {
        let mut context = Context::default();
        let end = SystemTime::now() + Duration::from_secs(10);
        let since = end.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis();
        context.deadline = since.try_into().expect("before the year 500 million");
        let left = deadline(&context, Duration::ZERO) - Instant::now();
        assert!((8..=9).contains(&left.as_secs()), "{left:?}");
    }

    #[test]
    fn a_deadline_that_is_long_past_is_none() {
        let mut context = Context::default();
        context.deadline = 600_000;
        let left = deadline(&context, Duration::from_secs(4)) - Instant::now();
        assert!(left > Duration::from_secs(3), "{left:?}");
    }
}
