import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { composeGateway } from '../../gateway/compose-gateway.ts';
import { createLogger } from '../../platform/log.ts';
import { createFakeGateway } from './gateway-fakes.ts';

/*
 * A gateway over rows in memory as a process of its own, whose memory nobody else uses. Its parent asks
 * for what is in use after a collection by sending any message.
 */

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const fakes = createFakeGateway({ logHttpRequests: false });
// Many lines would be kept by the fake, and none is wanted here.
fakes.dependencies.log = createLogger({
  subsystem: 'test',
  level: 'silent',
  pretty: false,
  destination: { write: () => undefined },
});
const gateway = await composeGateway({
  ...fakes.dependencies,
  tokenCache: {
    seconds: 300,
    notices: { subscribe: () => () => undefined, session: () => 1 },
  },
  metrics: fakes.metrics,
  host: '127.0.0.1',
  port: 0,
  bufferSizes: { readBufferSizeBytes: 4_096, writeBufferSizeBytes: 4_096 },
  metricsPort: 0,
  checks: { postgres: () => Promise.resolve(), temporal: () => Promise.resolve() },
  // Slow clients are waited for as in production, only less long.
  httpLimits: { headersMs: 1_000, requestMs: 2_000, checkEveryMs: 200 },
});
process.on('message', () => {
  collect();
  const { heapUsed, external, rss } = process.memoryUsage();
  process.send?.({ usedBytes: heapUsed + external, rssBytes: rss });
});
process.on('disconnect', () => process.exit());
process.send?.({ url: gateway.url });
