import { expireTokens } from '../expire-tokens.ts';
import type { Calls } from '../programs/load.ts';
import { interleave, ratio } from '../rounds.ts';
import type { Scenario } from '../scenario.ts';
import { connectionIds, prepareConnections, tokenPath } from '../seed-connections.ts';
import { quantile, summarise } from '../statistics.ts';

const hotConnections = 100;
const hotReadsPerSecond = 500;
const callersEach = 5;
const herdSecondsMax = 120;

/** Hot reads at a steady rate while a herd of other connections is refreshed, to the same without it. */
export const herd: Scenario = {
  figures: ['hot_read_p99_during_herd_to_idle'],
  async prepare({ stack, extent, tell }) {
    const herdConnections = extent.isQuick ? 100 : 1_000;
    const stores = await prepareConnections(stack, 'herd', hotConnections + herdConnections, tell);
    const hotPaths = connectionIds(hotConnections).map(tokenPath);
    const herdIds = connectionIds(herdConnections, hotConnections);
    const herdPaths = Array.from({ length: callersEach }, () => herdIds.map(tokenPath)).flat();
    const provider = await stack.provider();
    const temporal = await stack.temporalEnv();
    await stack.service('worker', 'herd', temporal);
    const gateway = await stack.service('gateway', 'herd', temporal);
    const load = await stack.load();
    // The herd is driven by another process, so that its own work delays no hot read.
    const herdLoad = await stack.herdLoad();
    const target = { origin: gateway.origin, headers: stack.headers };

    const hotReads = (seconds: number): Promise<Calls> =>
      load.call.holdRate({ target, paths: hotPaths, perSecond: hotReadsPerSecond, seconds });
    const p99 = ({ latenciesMs, failed, failure }: Calls): number => {
      if (failed > 0) throw new Error(`${failed} hot reads failed: ${failure ?? ''}`);
      return quantile(latenciesMs, 0.99);
    };
    const herdSeconds: number[] = [];
    const sides = {
      idle: async () => p99(await hotReads(extent.seconds)),
      herd: async () => {
        await expireTokens(stores, herdIds);
        await provider.call.behave({ delayMs: 0, expiresInSeconds: 3_600 });
        await herdLoad.call.open({ target, connections: herdPaths.length });
        const reading = hotReads(herdSecondsMax);
        const { failed, failure, elapsedMs } = await herdLoad.call.rush({
          target,
          paths: herdPaths.map((path) => `${path}?wait_seconds=60`),
          again: true,
        });
        await load.call.release();
        if (failed > 0) throw new Error(`${failed} of the herd failed: ${failure ?? ''}`);
        herdSeconds.push(elapsedMs / 1_000);
        return p99(await reading);
      },
    };
    for (const warmUp of Object.values(sides)) await warmUp();

    return async () => {
      const measured = await interleave(extent.rounds, sides, tell);
      return {
        figures: [
          {
            name: 'hot_read_p99_during_herd_to_idle',
            summary: ratio(measured.herd, measured.idle),
            bar: { atMost: 3 },
          },
        ],
        measurements: [
          {
            what: `hot reads, ${hotReadsPerSecond}/s, p99`,
            unit: 'ms',
            summary: summarise(measured.idle),
          },
          {
            what: `the same while ${herdConnections} connections are refreshed for ${callersEach} callers each`,
            unit: 'ms',
            summary: summarise(measured.herd),
          },
          { what: 'until the herd has its tokens', unit: 's', summary: summarise(herdSeconds) },
        ],
      };
    };
  },
};
