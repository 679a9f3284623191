"""Checks Google's Python client against the Pub/Sub server that PUBSUB_EMULATOR_HOST names: publish, streaming pull, ack,
nack, and the shutdown of a subscriber with outstanding messages. Fails if the server does not behave."""

import threading
import time

from google.cloud import pubsub_v1

TOPIC = "projects/clients/topics/python-client"
SUBSCRIPTION = "projects/clients/subscriptions/python-client"
MESSAGES = 20
TIMEOUT_S = 30


def publish():
    publisher = pubsub_v1.PublisherClient()
    publisher.create_topic(name=TOPIC)
    with pubsub_v1.SubscriberClient() as subscriber:
        subscriber.create_subscription(name=SUBSCRIPTION, topic=TOPIC, ack_deadline_seconds=10)
    results = [publisher.publish(TOPIC, f"scan {n}".encode()) for n in range(MESSAGES)]
    published = {result.result(timeout=TIMEOUT_S) for result in results}
    publisher.stop()
    return published


def shut_down_with_outstanding_messages():
    """Stops a subscriber that has settled no message. receive_all must then get all of them."""
    received = threading.Event()
    with pubsub_v1.SubscriberClient() as subscriber:
        stream = subscriber.subscribe(SUBSCRIPTION, callback=lambda message: received.set())
        assert received.wait(TIMEOUT_S), "no message arrived"
        stream.cancel()
        stream.result(timeout=TIMEOUT_S)


def receive_all(published):
    """Nacks the first delivery of each message and acknowledges the second."""
    lock, done, deliveries, acknowledged = threading.Lock(), threading.Event(), {}, set()

    def settle(message):
        with lock:
            deliveries[message.message_id] = deliveries.get(message.message_id, 0) + 1
            if deliveries[message.message_id] == 1:
                message.nack()
                return
            message.ack()
            acknowledged.add(message.message_id)
            if acknowledged >= published:
                done.set()

    with pubsub_v1.SubscriberClient() as subscriber:
        stream = subscriber.subscribe(SUBSCRIPTION, callback=settle)
        # The messages that the first subscriber did not settle are leased for up to 60 s.
        assert done.wait(90), f"{len(acknowledged)} of {MESSAGES} messages arrived twice"
        stream.cancel()
        stream.result(timeout=TIMEOUT_S)


def redelivers_nothing():
    """Waits longer than the ack deadline, after which the server would redeliver a message whose ack it lost."""
    redelivered = []
    with pubsub_v1.SubscriberClient() as subscriber:
        stream = subscriber.subscribe(SUBSCRIPTION, callback=lambda message: redelivered.append(message.message_id))
        time.sleep(12)
        stream.cancel()
        stream.result(timeout=TIMEOUT_S)
    assert not redelivered, f"redelivered after their acknowledgement: {redelivered}"


published = publish()
assert len(published) == MESSAGES, published
shut_down_with_outstanding_messages()
receive_all(published)
redelivers_nothing()
print("the Python client works")
