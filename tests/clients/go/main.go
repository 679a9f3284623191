// Checks Google's Go client against the Pub/Sub server that PUBSUB_EMULATOR_HOST names: publish, streaming pull, ack,
// nack, and the shutdown of a subscriber with outstanding messages. Exits with 1 if the server does not behave.
package main

import (
	"context"
	"fmt"
	"log"
	"sync"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
)

const (
	topic        = "projects/clients/topics/go-client"
	subscription = "projects/clients/subscriptions/go-client"
	messages     = 20
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("the Go client works")
}

func run(ctx context.Context) error {
	client, err := pubsub.NewClient(ctx, "clients")
	if err != nil {
		return err
	}
	defer client.Close()
	if _, err := client.TopicAdminClient.CreateTopic(ctx, &pubsubpb.Topic{Name: topic}); err != nil {
		return fmt.Errorf("create the topic: %w", err)
	}
	request := &pubsubpb.Subscription{Name: subscription, Topic: topic, AckDeadlineSeconds: 10}
	if _, err := client.SubscriptionAdminClient.CreateSubscription(ctx, request); err != nil {
		return fmt.Errorf("create the subscription: %w", err)
	}
	published, err := publish(ctx, client)
	if err != nil {
		return err
	}
	if err := shutDownWithOutstandingMessages(ctx, client); err != nil {
		return err
	}
	return receiveAll(ctx, client, published)
}

func publish(ctx context.Context, client *pubsub.Client) (map[string]bool, error) {
	publisher := client.Publisher(topic)
	defer publisher.Stop()
	var results []*pubsub.PublishResult
	for n := range messages {
		results = append(results, publisher.Publish(ctx, &pubsub.Message{Data: fmt.Appendf(nil, "scan %d", n)}))
	}
	published := map[string]bool{}
	for _, result := range results {
		id, err := result.Get(ctx)
		if err != nil {
			return nil, fmt.Errorf("publish: %w", err)
		}
		published[id] = true
	}
	return published, nil
}

// Stops a subscriber that has settled no message. The client nacks them, so receiveAll must get all of them.
func shutDownWithOutstandingMessages(ctx context.Context, client *pubsub.Client) error {
	subscriber := client.Subscriber(subscription)
	subscriber.ReceiveSettings.ShutdownOptions = &pubsub.ShutdownOptions{
		Timeout:  5 * time.Second,
		Behavior: pubsub.ShutdownBehaviorNackImmediately,
	}
	receiving, stop := context.WithCancel(ctx)
	defer stop()
	err := subscriber.Receive(receiving, func(_ context.Context, message *pubsub.Message) {
		stop()
		<-receiving.Done()
	})
	if err != nil {
		return fmt.Errorf("receive and stop: %w", err)
	}
	return ctx.Err()
}

// Nacks the first delivery of each message and acknowledges the second. Returns when all messages are acknowledged.
func receiveAll(ctx context.Context, client *pubsub.Client, published map[string]bool) error {
	subscriber := client.Subscriber(subscription)
	receiving, stop := context.WithCancel(ctx)
	defer stop()
	var lock sync.Mutex
	deliveries, acknowledged := map[string]int{}, map[string]bool{}
	err := subscriber.Receive(receiving, func(_ context.Context, message *pubsub.Message) {
		lock.Lock()
		defer lock.Unlock()
		deliveries[message.ID]++
		if deliveries[message.ID] == 1 {
			message.Nack()
			return
		}
		message.Ack()
		acknowledged[message.ID] = published[message.ID]
		if len(acknowledged) == messages {
			stop()
		}
	})
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	for id := range published {
		if !acknowledged[id] {
			return fmt.Errorf("message %s was not redelivered; %d of %d messages arrived", id, len(acknowledged), messages)
		}
	}
	return redeliversNothing(ctx, client)
}

// Waits longer than the ack deadline, after which the server would redeliver a message whose acknowledgement it lost.
func redeliversNothing(ctx context.Context, client *pubsub.Client) error {
	receiving, stop := context.WithTimeout(ctx, 12*time.Second)
	defer stop()
	var redelivered sync.Map
	err := client.Subscriber(subscription).Receive(receiving, func(_ context.Context, message *pubsub.Message) {
		redelivered.Store(message.ID, true)
		message.Ack()
	})
	redelivered.Range(func(id, _ any) bool {
		err = fmt.Errorf("message %v was redelivered after its acknowledgement", id)
		return false
	})
	return err
}
