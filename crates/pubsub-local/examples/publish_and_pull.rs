//! Starts a server on a free port, creates a topic and a subscription, publishes three messages, receives and
//! acknowledges them, and shuts the server down. Run it with `cargo run --example publish_and_pull`.

use std::time::Duration;

use google_cloud_auth::credentials::{Credentials, anonymous};
use google_cloud_pubsub::client::{Publisher, Subscriber, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::model::Message;
use pubsub_local::{Observer, Server};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

type Error = Box<dyn std::error::Error>;

const TOPIC: &str = "projects/example/topics/orders";
const SUBSCRIPTION: &str = "projects/example/subscriptions/orders";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let server = Server::bind("127.0.0.1:0".parse()?).await?;
    let endpoint = format!("http://{}", server.address());
    let observer = server.observer();
    println!("Pub/Sub listens on {endpoint}");

    let (shut_down, shutdown) = oneshot::channel::<()>();
    let serving = server.serve(async { _ = shutdown.await });
    let client = async {
        let received = timeout(Duration::from_secs(30), publish_and_pull(&endpoint, &observer)).await;
        drop(shut_down);
        received
    };
    let (served, received) = tokio::join!(serving, client);
    served?;
    received?
}

async fn publish_and_pull(endpoint: &str, observer: &Observer) -> Result<(), Error> {
    let topics = TopicAdmin::builder().with_endpoint(endpoint).with_credentials(no_credentials()).build().await?;
    topics.create_topic().set_name(TOPIC).send().await?;
    let subscriptions =
        SubscriptionAdmin::builder().with_endpoint(endpoint).with_credentials(no_credentials()).build().await?;
    subscriptions.create_subscription().set_name(SUBSCRIPTION).set_topic(TOPIC).send().await?;

    let publisher =
        Publisher::builder(TOPIC).with_endpoint(endpoint).with_credentials(no_credentials()).build().await?;
    for text in ["one", "two", "three"] {
        let id = publisher.publish(Message::new().set_data(text)).await?;
        println!("published {text} with id {id}");
    }

    let subscriber = Subscriber::builder().with_endpoint(endpoint).with_credentials(no_credentials()).build().await?;
    let mut stream = subscriber.subscribe(SUBSCRIPTION).build();
    for _ in 0..3 {
        let (message, handler) = stream.next().await.ok_or("the stream ended")??;
        println!("received {}", String::from_utf8_lossy(&message.data));
        handler.ack();
    }

    // The client sends acknowledgements in the background.
    let counts = loop {
        let counts = observer.counts(SUBSCRIPTION).ok_or("the subscription is missing")?;
        if counts.backlog() == 0 {
            break counts;
        }
        sleep(Duration::from_millis(10)).await;
    };
    println!("published {}, acknowledged {}", counts.published, counts.acknowledged);
    Ok(())
}

fn no_credentials() -> Credentials {
    anonymous::Builder::new().build()
}
