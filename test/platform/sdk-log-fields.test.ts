import { expect, it } from 'vitest';
import { describeSdkMeta } from '../../platform/sdk-log-fields.ts';

it('lines of the SDK have the names of our own, and the connection that a run refreshes', () => {
  const error = new Error('lost');
  expect(
    describeSdkMeta({ workflowId: 'refresh/acme/1', runId: 'r1', taskQueue: 'q', error }),
  ).toEqual({
    connection_id: 'acme/1',
    workflow_id: 'refresh/acme/1',
    run_id: 'r1',
    task_queue: 'q',
    err: error,
  });
  expect(describeSdkMeta({ workflowId: 'sweep', attempt: 2 })).toEqual({
    workflow_id: 'sweep',
    attempt: 2,
  });
});
