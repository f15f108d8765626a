import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import {
  createDeliveryActivities,
  type DeliveryActivities,
} from '../activities/delivery-activities.ts';
import {
  deliverEventsWorkflowId,
  deliverEventsWorkflowType,
  maintenancePriority,
} from '../client/contract.ts';
import { trimEvents } from '../connections/event-feed.ts';
import type { TransactionalStore } from '../connections/store-query.ts';
import type { WebhookEndpoint } from '../connections/webhook-settings.ts';
import { createWebhookStore } from '../connections/webhook-store.ts';
import type { EgressGuard } from '../oauth/egress.ts';
import { createGuardedPost } from '../oauth/guarded-post.ts';
import { systemClock } from '../platform/clock.ts';
import type { Config } from '../platform/config.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import { tendEvents } from './tend-events.ts';

/** The Activity that tells webhook endpoints of events, and what begins its Workflows. */
export function composeDeliveries(parts: {
  config: Config;
  log: Logger;
  metrics: Metrics;
  pool: TransactionalStore;
  webhookEndpoints: () => readonly WebhookEndpoint[];
  egress: EgressGuard;
  client: () => Client | undefined;
  /** Aborted when the process is about to end. */
  stopping: AbortSignal;
}): { activities: DeliveryActivities; close(): Promise<void> } {
  const { pool, webhookEndpoints, client, stopping, log } = parts;
  const webhooks = createWebhookStore(pool);
  const activities = createDeliveryActivities({
    webhooks,
    endpoints: webhookEndpoints,
    post: createGuardedPost({ egress: parts.egress }),
    clock: systemClock,
    random: Math.random,
    sleep: (ms) => sleep(ms, undefined, { signal: stopping }).catch(() => undefined),
    isEnding: () => stopping.aborted,
    log,
    metrics: parts.metrics,
  });
  const tending = tendEvents({
    endpoints: () => webhookEndpoints().map(({ name }) => name),
    enrol: (names) => webhooks.enrol(names),
    async begin(endpoint) {
      await client()?.workflow.start(deliverEventsWorkflowType, {
        taskQueue: parts.config.temporal.taskQueues.sweep,
        workflowId: deliverEventsWorkflowId(endpoint),
        workflowIdConflictPolicy: 'USE_EXISTING',
        args: [{ endpoint }],
        priority: { priorityKey: maintenancePriority.deliveries },
        staticSummary: `events for the webhook ${endpoint}`,
      });
    },
    trim: () => trimEvents(pool),
    monotonicMs: () => systemClock.monotonicMs(),
    sleep: (ms, signal) => sleep(ms, undefined, { signal }),
    log,
  });
  return { activities, close: () => tending.close() };
}
