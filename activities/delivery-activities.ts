import { heartbeat } from '@temporalio/activity';
import { toApplicationFailure } from './activity-failure.ts';
import {
  deliverEvents,
  type DeliverEventsInput,
  type DeliveryDependencies,
  type DeliveryStep,
} from './deliver-events.ts';

const heartbeatEveryMs = 2_000;

/** What the Workflow `deliverEvents` can ask for. */
export interface DeliveryActivities {
  deliverEvents(input: DeliverEventsInput): Promise<DeliveryStep>;
}

export function createDeliveryActivities(dependencies: DeliveryDependencies): DeliveryActivities {
  const { log } = dependencies;
  return {
    async deliverEvents(input) {
      const beat = setInterval(() => {
        heartbeat();
      }, heartbeatEveryMs);
      try {
        return await deliverEvents(dependencies, input);
      } catch (error) {
        log.error({ err: error, webhook: input.endpoint }, 'an Activity failed');
        throw toApplicationFailure(error);
      } finally {
        clearInterval(beat);
      }
    },
  };
}
