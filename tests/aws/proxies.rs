//! AWS that only a proxy reaches, as in a network of a company.

use serde_json::json;

use crate::support::{
    github::{NEW, NEWER, SECRET},
    https::Https,
    lambda::Lambda,
    moto::Moto,
    proxy::Proxy,
    space::Space,
};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto and the Lambda emulator: tests/README.md"]
async fn secrets_manager_is_asked_by_the_proxy_that_is_set_and_without_it_where_it_is_excepted() {
    let (space, moto, proxy) = (Space::embedded().await, Moto::start().await, Proxy::start().await);
    space.gitrepo("shop", space.follows_main()).await;
    moto.create_secret("webhook", &json!({ "github": SECRET }).to_string()).await;
    let https = Https::before(&moto.url);
    for (excepted, by_proxy, commit) in
        [(",.elsewhere.example,", true, NEW), (",127.0.0.1", false, NEWER)]
    {
        let before = proxy.asked().len();
        let mut variables = moto.variables();
        variables.extend([
            ("AWS_ENDPOINT_URL", &*https.url),
            ("SSL_CERT_FILE", https.authority()),
            ("HTTPS_PROXY", &*proxy.url),
            ("NO_PROXY", excepted),
            ("KUBECONFIG", space.kubeconfig.to_str().unwrap()),
            ("WEBHOOK_SECRET_ID", "webhook"),
        ]);
        let lambda = Lambda::start(&variables).await;

        let answer = lambda.push(&space, SECRET, commit).await;

        assert_eq!(answer.outcome(), "accepted", "{}", lambda.log());
        assert_eq!(space.commit("shop").await.as_deref(), Some(commit));
        assert_eq!(proxy.asked().len() > before, by_proxy, "{:?}", proxy.asked());
        assert!(proxy.asked().iter().all(|it| it == https.address()), "{:?}", proxy.asked());
    }
}
