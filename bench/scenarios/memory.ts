import { rssBytesOf } from '../process-usage.ts';
import type { Scenario } from '../scenario.ts';
import { connectionIds, prepareConnections, tokenPath } from '../seed-connections.ts';
import { slope, summarise } from '../statistics.ts';

const sockets = 64;
const bytesPerMegabyte = 1_000_000;

/** A gateway with a full cache, and what a million reads do to its memory. */
export const memory: Scenario = {
  figures: ['gateway_megabytes_with_100k_cached', 'gateway_megabytes_per_million_reads'],
  async prepare({ stack, extent, tell }) {
    const [count, reads, samples] = extent.isQuick ? [10_000, 50_000, 2] : [100_000, 1_000_000, 20];
    await prepareConnections(stack, 'memory', count, tell);
    const paths = connectionIds(count).map(tokenPath);
    const gateway = await stack.service('gateway', 'memory', {
      ...(await stack.temporalEnv()),
      TOKEN_CACHE_SECONDS: '300',
    });
    const load = await stack.load();
    const target = { origin: gateway.origin, headers: stack.headers };

    return async () => {
      tell(`fills the cache with ${count} connections`);
      const { failed } = await load.call.takeEach({ target, paths, callers: sockets });
      if (failed > 0) throw new Error(`${failed} reads failed`);
      const filled = rssBytesOf(gateway.pid) / bytesPerMegabyte;
      const seen: [millions: number, megabytes: number][] = [];
      // Twice the reads whose slope is taken: in the first half the heap grows until its next full collection.
      for (let sample = 1; sample <= 2 * samples; sample += 1) {
        tell(`reads, sample ${sample} of ${2 * samples}`);
        await load.call.saturate({
          target,
          paths,
          connections: sockets,
          split: true,
          amount: reads / samples,
        });
        const millions = (sample * reads) / samples / 1_000_000;
        seen.push([millions, rssBytesOf(gateway.pid) / bytesPerMegabyte]);
      }
      const settled = seen.slice(samples);
      const sizes = seen.map(([, megabytes]) => megabytes);
      return {
        figures: [
          {
            name: 'gateway_megabytes_with_100k_cached',
            summary: summarise([filled, ...sizes]),
            bar: { atMost: 300 },
          },
          {
            name: 'gateway_megabytes_per_million_reads',
            summary: summarise([slope(settled)]),
            bar: { atMost: 10 },
          },
        ],
        measurements: [
          {
            what: `gateway with ${count} connections cached, before it read from memory`,
            unit: 'MB',
            summary: summarise([filled]),
          },
          {
            what: `the same while ${2 * reads} reads went on`,
            unit: 'MB',
            summary: summarise(sizes),
          },
        ],
      };
    };
  },
};
