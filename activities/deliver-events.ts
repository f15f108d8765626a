import type { EventPosition, FeedEvent } from '../connections/event-feed.ts';
import { isFor, type WebhookEndpoint } from '../connections/webhook-settings.ts';
import type {
  EndpointStanding,
  RetryDelivery,
  WebhookStore,
} from '../connections/webhook-store.ts';
import type { GuardedPost } from '../oauth/guarded-post.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import { readWebhookAnswer, webhookRetryMs, type WebhookAnswer } from './webhook-answer.ts';
import { webhookRequest } from './webhook-request.ts';

/** After so long without a single success an endpoint is parked, and after so long one event. */
export const parkAfterMs = 3 * 86_400_000;
/** Events that one SELECT reads; most are for most endpoints. */
const pageSize = 200;
/** Deliveries to one endpoint at once. */
const deliveriesAtOnce = 16;
/** What is retried leaves room for what is new. */
const retriesAtOnce = 8;
/** More than one, so that an event that an endpoint cannot bear does not keep it from living again. */
const probesAtOnce = 3;
const connectDeadlineMs = 5_000;
const answerDeadlineMs = 15_000;
/** How long one Activity goes on; a delivery that begins before may end 20 s later. */
const turnMs = 25_000;
const idlePollMs = 1_000;

export interface DeliverEventsInput {
  /** Name in WEBHOOKS_FILE. */
  endpoint: string;
}

/** `parked`: it has taken nothing for days; `unknown`: WEBHOOKS_FILE does not have it any more. */
export type DeliveryStep =
  { next: 'again'; afterMs: number } | { next: 'end'; outcome: 'parked' | 'unknown' };

export interface DeliveryDependencies {
  webhooks: WebhookStore;
  /** Those of WEBHOOKS_FILE now. */
  endpoints: () => readonly WebhookEndpoint[];
  post: GuardedPost;
  clock: Clock;
  random: () => number;
  /** Resolves sooner when the process is to end. */
  sleep: (ms: number) => Promise<void>;
  isEnding: () => boolean;
  log: Pick<Logger, 'info' | 'warn' | 'error'>;
  metrics: Pick<Metrics, 'webhookDeliveries'>;
}

/** What is sent at once, and how far the endpoint has got if all goes well. */
interface Batch {
  retries: RetryDelivery[];
  events: FeedEvent[];
  to: EventPosition;
}

/**
 * The Activity `deliverEvents`: tells one endpoint what it has not been told, in the order of the feed, and
 * waits a while for more. An endpoint that takes nothing keeps its place, so that it costs one attempt at
 * a time whatever lies before it; an event that it refuses while it takes others is retried by itself.
 */
export async function deliverEvents(
  dependencies: DeliveryDependencies,
  { endpoint: name }: DeliverEventsInput,
): Promise<DeliveryStep> {
  const { webhooks, endpoints, clock, sleep, isEnding } = dependencies;
  const untilMs = clock.monotonicMs() + turnMs;
  while (clock.monotonicMs() < untilMs && !isEnding()) {
    const endpoint = endpoints().find((each) => each.name === name);
    const standing = await webhooks.standing(name);
    if (endpoint === undefined || standing === undefined)
      return { next: 'end', outcome: 'unknown' };
    if (standing.parkedAt !== null) return { next: 'end', outcome: 'parked' };
    if (standing.waitMs > 0) return { next: 'again', afterMs: Math.ceil(standing.waitMs) };
    const batch = await nextBatch(webhooks, endpoint, standing);
    if (batch === undefined) await sleep(idlePollMs);
    else await deliver(dependencies, endpoint, standing, batch);
  }
  return { next: 'again', afterMs: 0 };
}

/** Undefined: there is nothing to do. */
async function nextBatch(
  webhooks: WebhookStore,
  endpoint: WebhookEndpoint,
  { name, position, failingSince }: EndpointStanding,
): Promise<Batch | undefined> {
  const isFailing = failingSince !== null;
  const retries = isFailing ? [] : await webhooks.dueRetries(name, retriesAtOnce);
  const room = isFailing ? probesAtOnce : deliveriesAtOnce - retries.length;
  const page = await webhooks.next(position, pageSize);
  const events: FeedEvent[] = [];
  let to = position;
  for (const { position: reached, event } of page) {
    if (isFor(endpoint, event)) {
      if (events.length === room) break;
      events.push(event);
    }
    to = reached;
  }
  return page.length === 0 && retries.length === 0 ? undefined : { retries, events, to };
}

async function deliver(
  dependencies: DeliveryDependencies,
  endpoint: WebhookEndpoint,
  standing: EndpointStanding,
  { retries, events, to }: Batch,
): Promise<void> {
  const { webhooks, random } = dependencies;
  const { name, position: from } = standing;
  const [retried, fresh] = await Promise.all([
    Promise.all(retries.map(async (retry) => ({ retry, answer: await send(retry.event) }))),
    Promise.all(events.map(async (event) => ({ event, answer: await send(event) }))),
  ]);
  const answers = [...retried, ...fresh].map(({ answer }) => answer);
  const isDelivered = answers.some(({ kind }) => kind === 'taken');
  const refusals = fresh.flatMap(({ answer }) => (answer.kind === 'refused' ? [answer] : []));
  const [first] = refusals;
  if (!isDelivered && first !== undefined) {
    await fail(dependencies, standing, refusals, first);
    return;
  }
  await webhooks.recordProgress({
    name,
    from,
    to,
    isDelivered,
    refused: fresh.flatMap(({ event, answer }) =>
      answer.kind === 'taken'
        ? []
        : [
            {
              eventId: event.id,
              failureCode: answer.code,
              retryAfterMs: webhookRetryMs(0, answer.askedForMs, random()),
            },
          ],
    ),
    retried: retried.map(({ retry, answer }) => ({
      eventId: retry.event.id,
      failureCode: answer.kind === 'taken' ? null : answer.code,
      retryAfterMs:
        answer.kind === 'taken' || retry.ageMs >= parkAfterMs
          ? null
          : webhookRetryMs(retry.attempts, answer.askedForMs, random()),
    })),
  });

  async function send(event: FeedEvent): Promise<WebhookAnswer> {
    const { post, clock, metrics } = dependencies;
    const sentAt = new Date(clock.wallMs());
    const request = webhookRequest(endpoint, event, sentAt);
    const answer = await post({ ...request, connectDeadlineMs, answerDeadlineMs });
    const read = readWebhookAnswer(answer, sentAt);
    metrics.webhookDeliveries.inc({ endpoint: name, outcome: read.kind });
    return read;
  }
}

/** It took nothing of what is new to it. */
async function fail(
  { webhooks, random, log }: DeliveryDependencies,
  { name, position: from, failureCount, failingSince }: EndpointStanding,
  refusals: { askedForMs: number; isGone: boolean }[],
  { code }: { code: string },
): Promise<void> {
  const askedForMs = Math.max(...refusals.map((refusal) => refusal.askedForMs));
  const isGone = refusals.some((refusal) => refusal.isGone);
  const isParked = await webhooks.recordFailure({
    name,
    from,
    code,
    retryAfterMs: webhookRetryMs(failureCount, askedForMs, random()),
    parkAfterMs: isGone ? 0 : parkAfterMs,
  });
  const fields = { webhook: name, code };
  if (isParked) {
    log.error(
      fields,
      'a webhook endpoint is parked: put it right, then `token-manager events retry`',
    );
  } else if (failingSince === null) {
    log.warn(fields, 'a webhook endpoint takes no events; it is tried again');
  }
}
