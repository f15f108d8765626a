import type { BufferedMetricUpdate } from '@temporalio/worker';
import { describe, expect, it } from 'vitest';
import { createMetrics } from '../../platform/metrics.ts';

type Kind = BufferedMetricUpdate['metric']['kind'];

function update(
  kind: Kind,
  name: string,
  value: number,
  attributes: BufferedMetricUpdate['attributes'] = {},
  unit?: string,
): BufferedMetricUpdate {
  const metric = { name, kind, valueType: 'int', ...(unit !== undefined && { unit }) } as const;
  return { metric, value, attributes };
}

/** The page after the SDK has measured this. */
async function pageOf(...rounds: BufferedMetricUpdate[][]): Promise<string> {
  const metrics = createMetrics({ subsystem: 'test' });
  metrics.collectSdkMetrics(() => rounds.shift() ?? []);
  for (let pages = rounds.length; pages > 1; pages -= 1) await metrics.page();
  return (await metrics.page()).body;
}

describe('metrics of the Temporal SDK', () => {
  it('stand on our page: counters add up, gauges hold the newest, durations are in seconds', async () => {
    const request = { namespace: 'default', operation: 'StartWorkflowExecution' };
    const body = await pageOf(
      [
        update('counter', 'temporal_request', 1, request),
        update('gauge', 'temporal_num_pollers', 5, { poller_type: 'activity_task' }),
        update('up-down-counter', 'temporal_open', 3),
      ],
      [
        update('counter', 'temporal_request', 2, request),
        update('gauge', 'temporal_num_pollers', 4, { poller_type: 'activity_task' }),
        update('up-down-counter', 'temporal_open', -1),
        update('histogram', 'temporal_request_latency', 0.02, request, 's'),
      ],
    );
    const labels = 'namespace="default",operation="StartWorkflowExecution"';
    expect(body).toContain(`temporal_request_total{${labels},subsystem="test"} 3`);
    expect(body).toContain('temporal_num_pollers{poller_type="activity_task",subsystem="test"} 4');
    expect(body).toContain('temporal_open{subsystem="test"} 2');
    expect(body).toMatch(/temporal_request_latency_seconds_bucket\{le="0.025",[^}]*\} 1/);
  });

  it('leave out labels that we do not know, and series beyond a limit', async () => {
    const types = Array.from({ length: 600 }, (_, index) =>
      update('counter', 'temporal_workflow_completed', 1, {
        workflow_type: `type-${index}`,
        service_name: 'temporal-core-sdk',
        run_id: `run-${index}`,
      }),
    );
    const body = await pageOf(types);
    expect(body.match(/^temporal_workflow_completed_total\{/gm)).toHaveLength(500);
    expect(body).not.toContain('run-1');
  });
});
