//! A sink with TLS: whom it has to be trusted for, and by which proxy it is reached.

use reqwest::Method;

use crate::support::{
    api_server::Fault,
    function::Function,
    github::{NEW, SECRET},
    https::Https,
    proxy::Proxy,
    sink::Sink,
    space::Space,
};

/// A cluster that takes no commit, and a sink behind TLS, with its URL there.
async fn prepared() -> (Space, Sink, Https, String) {
    let (space, sink) = (Space::embedded().await, Sink::start().await);
    space.shop().await;
    space.fail(Fault::always(Method::PATCH, "/status", 422));
    let https = Https::before(&sink.url);
    let url = format!("{}/broker", https.url);
    (space, sink, https, url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Python: tests/README.md"]
async fn a_sink_is_trusted_by_the_certificates_that_come_with_it_and_not_without_them() {
    let (space, sink, https, url) = prepared().await;
    let certificates = std::fs::read_to_string(&https.authority).unwrap();

    let variables = [("K_SINK", &*url), ("K_CA_CERTS", &*certificates)];
    let trusting = Function::start(&space, &variables).await;
    let answer = trusting.push(&space, SECRET, "refs/heads/main", NEW).await;
    assert_eq!((answer.status, answer.outcome()), (202, "queued"), "{}", trusting.log());
    let [event] = &sink.events()[..] else { panic!("{:?}", sink.events()) };
    assert_eq!(event.header("ce-type"), "dev.fleet-webhook.delivery");

    let wary = Function::start(&space, &[("K_SINK", &*url)]).await;
    assert_eq!(wary.request("GET", "/readyz").await.status, 200, "there is a queue");
    let answer = wary.push(&space, SECRET, "refs/heads/main", NEW).await;
    assert_eq!((answer.status, answer.outcome()), (503, "unavailable"), "{}", wary.log());
    assert!(answer.headers.contains_key("retry-after"));
    wary.logs("could not be queued").await;
    assert!(wary.log().contains("certificate"), "it says why: {}", wary.log());
    assert_eq!(sink.events().len(), 1);

    space.embedded_server().unwrap().mend();
    let answer = event.deliver(&trusting).await;
    assert_eq!(answer.status, 204, "{}", trusting.log());
    assert_eq!(space.commit("shop").await.as_deref(), Some(NEW));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Python: tests/README.md"]
async fn a_sink_with_tls_is_reached_by_the_proxy_that_is_set_and_without_it_where_it_is_excepted() {
    let (space, sink, https, url) = prepared().await;
    let proxy = Proxy::start().await;
    let certificates = std::fs::read_to_string(&https.authority).unwrap();
    for (excepted, by_proxy) in [(",.elsewhere.example,", true), (",127.0.0.1", false)] {
        let before = (sink.events().len(), proxy.asked().len());
        let variables = [
            ("K_SINK", &*url),
            ("K_CA_CERTS", &*certificates),
            ("HTTPS_PROXY", &*proxy.url),
            ("NO_PROXY", excepted),
        ];
        let function = Function::start(&space, &variables).await;

        let answer = function.push(&space, SECRET, "refs/heads/main", NEW).await;

        assert_eq!((answer.status, answer.outcome()), (202, "queued"), "{}", function.log());
        assert_eq!(sink.events().len(), before.0 + 1);
        assert_eq!(proxy.asked().len() > before.1, by_proxy, "{:?}", proxy.asked());
        assert!(proxy.asked().iter().all(|it| it == https.address()), "{:?}", proxy.asked());
    }
}
