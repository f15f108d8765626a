// The Workflow of the sync: it sees that a token is there, and leaves reading it to the Activity.
import { ApplicationFailure, proxyActivities, sleep } from '@temporalio/workflow';
import { ensureFresh } from 'token-manager/workflow';

const { readProfile } = proxyActivities({
  startToCloseTimeout: '1 minute',
  retry: { maximumAttempts: 3 },
});

/** Reads the profile of one connection's customer every so often, for so long. Answers what it did. */
export async function syncConnection({ connectionId, forMs, everyMs, taskQueue }) {
  const did = { connectionId, calls: 0, refreshes: 0, waits: 0 };
  const untilMs = Date.now() + forMs;
  while (Date.now() < untilMs) {
    const token = await ensureFresh(connectionId, taskQueue === undefined ? {} : { taskQueue });
    switch (token.outcome) {
      case 'refreshed':
        did.refreshes += 1;
      // falls through
      case 'already_fresh':
        await readProfile({ connectionId });
        did.calls += 1;
        break;
      case 'waiting':
      case 'uncertain':
        // The provider is away or limits us: later, however long that takes.
        did.waits += 1;
        break;
      default:
        // Somebody has to act: the customer, or whoever looks after the app.
        throw ApplicationFailure.nonRetryable(`${connectionId} is ${token.outcome}`, token.outcome);
    }
    await sleep(everyMs);
  }
  return did;
}
