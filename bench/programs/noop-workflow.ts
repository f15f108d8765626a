import { proxyActivities } from '@temporalio/workflow';

const { noop } = proxyActivities<{ noop(): Promise<void> }>({
  startToCloseTimeout: '10s',
  retry: { maximumAttempts: 1 },
});

/** The least that a run with an Activity can be. */
export async function noopWorkflow(): Promise<void> {
  await noop();
}
