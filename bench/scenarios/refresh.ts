import { join } from 'node:path';
import { loadConfigFile } from '../../platform/config-file.ts';
import { expireTokens } from '../expire-tokens.ts';
import { drawFlameGraph } from '../flame-graph.ts';
import { cpuMsOf } from '../process-usage.ts';
import type { BareWorkflow, BareWorkflowOptions } from '../programs/bare-workflow.ts';
import type { Calls } from '../programs/load.ts';
import { interleave, ratio } from '../rounds.ts';
import type { Scenario } from '../scenario.ts';
import { connectionIds, prepareConnections, tokenPath } from '../seed-connections.ts';
import { median, summarise } from '../statistics.ts';

const callers = 32;
const warmUps = 100;
const flameSeconds = 10;

/** Refreshes through HTTP, to Workflows that do nothing on the same server. */
export const refresh: Scenario = {
  figures: [
    'refresh_throughput_to_bare_workflow',
    'refresh_latency_to_bare_workflow',
    'own_cpu_ms_per_refresh',
  ],
  async prepare({ stack, extent, flames, tell }) {
    const [count, singles] = extent.isQuick ? [100, 20] : [500, 60];
    const stores = await prepareConnections(stack, 'refresh', count, tell);
    const ids = connectionIds(count);
    const provider = await stack.provider();
    const temporalAddress = await stack.temporalAddress();
    const { namespace } = loadConfigFile();
    const service = await stack.service('all-in-one', 'refresh', await stack.temporalEnv());
    const bare = await stack.program<BareWorkflow>('bare-workflow', {
      address: temporalAddress,
      namespace,
    } satisfies BareWorkflowOptions);
    const load = await stack.load();
    const target = { origin: service.origin, headers: stack.headers };

    async function refreshAll(expired: string[], atOnce: number): Promise<Calls> {
      await expireTokens(stores, expired);
      await provider.call.behave({ delayMs: 0, expiresInSeconds: 3_600 });
      const calls = await load.call.takeEach({
        target,
        paths: expired.map(tokenPath),
        callers: atOnce,
      });
      const { exchanges, reused } = await provider.call.counts();
      if (calls.failed > 0 || exchanges !== expired.length || reused > 0) {
        throw new Error(
          `${calls.failed} of ${expired.length} refreshes failed (${calls.failure ?? ''}); ` +
            `${exchanges} exchanges, ${reused} of them with a spent token`,
        );
      }
      return calls;
    }

    const cpuMs: number[] = [];
    const bareCpuMs: number[] = [];
    const sides = {
      refreshes: async () => {
        const before = cpuMsOf(service.pid);
        const { elapsedMs } = await refreshAll(ids, callers);
        cpuMs.push((cpuMsOf(service.pid) - before) / count);
        return (1_000 * count) / elapsedMs;
      },
      bare_workflows: async () => {
        const before = cpuMsOf(bare.pid);
        const { elapsedMs } = await bare.call.run({ count, callers });
        bareCpuMs.push((cpuMsOf(bare.pid) - before) / count);
        return (1_000 * count) / elapsedMs;
      },
      one_refresh_after_the_other: async () => {
        const { latenciesMs } = await refreshAll(ids.slice(0, singles), 1);
        return median(latenciesMs);
      },
      one_bare_workflow_after_the_other: async () => {
        const { latenciesMs } = await bare.call.run({ count: singles, callers: 1 });
        return median(latenciesMs);
      },
    };
    // The first one alone, for an app that has never answered sends one at a time.
    await refreshAll(ids.slice(0, 1), 1).catch(() => undefined);
    await refreshAll(ids.slice(0, warmUps), callers).catch(() => undefined);
    await bare.call.run({ count: warmUps, callers });

    return async () => {
      const measured = await interleave(extent.rounds, sides, tell);
      if (flames !== undefined) {
        tell('draws the flame graph');
        await Promise.all([
          refreshAll(ids, callers),
          drawFlameGraph(service.pprofOrigin, join(flames, 'refresh.svg'), flameSeconds),
        ]);
      }
      return {
        figures: [
          {
            name: 'refresh_throughput_to_bare_workflow',
            summary: ratio(measured.refreshes, measured.bare_workflows),
            bar: { atLeast: 0.7 },
            guard: { atLeast: 0.25 },
          },
          {
            name: 'refresh_latency_to_bare_workflow',
            summary: ratio(
              measured.one_refresh_after_the_other,
              measured.one_bare_workflow_after_the_other,
            ),
            bar: { atMost: 1.5 },
          },
          { name: 'own_cpu_ms_per_refresh', summary: summarise(cpuMs), bar: { atMost: 14 } },
        ],
        measurements: [
          {
            what: `bare Workflow, ${callers} callers`,
            unit: 'runs/s',
            summary: summarise(measured.bare_workflows),
          },
          {
            what: `refresh, ${callers} callers`,
            unit: 'refreshes/s',
            summary: summarise(measured.refreshes),
          },
          {
            what: 'bare Workflow, one caller, median',
            unit: 'ms',
            summary: summarise(measured.one_bare_workflow_after_the_other),
          },
          {
            what: 'refresh, one caller, median',
            unit: 'ms',
            summary: summarise(measured.one_refresh_after_the_other),
          },
          { what: 'CPU of the bare Worker a run', unit: 'ms', summary: summarise(bareCpuMs) },
        ],
      };
    };
  },
};
