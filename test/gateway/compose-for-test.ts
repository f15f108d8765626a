import { afterEach } from 'vitest';
import { composeGateway, type ComposedGateway } from '../../gateway/compose-gateway.ts';
import { connectionRow, createFakeEngine, createFakeGateway } from './gateway-fakes.ts';

export type Changes = Partial<Parameters<typeof composeGateway>[0]> & {
  row?: ReturnType<typeof connectionRow>;
};

/** A gateway over the fakes that listens on loopback; every one is closed after its test. */
export function createComposer(): (changes?: Changes) => Promise<
  ReturnType<typeof createFakeGateway> & {
    engine: ReturnType<typeof createFakeEngine>;
    gateway: ComposedGateway;
  }
> {
  const gateways: ComposedGateway[] = [];
  afterEach(async () => {
    for (const gateway of gateways.splice(0)) await gateway.close();
  });
  return async (changes = {}) => {
    const { row = connectionRow(), ...composition } = changes;
    const fakes = createFakeGateway({ row });
    const engine = createFakeEngine();
    const gateway = await composeGateway({
      ...fakes.dependencies,
      refreshEngine: engine,
      metrics: fakes.metrics,
      host: '127.0.0.1',
      port: 0,
      bufferSizes: { readBufferSizeBytes: 4_096, writeBufferSizeBytes: 4_096 },
      metricsPort: 0,
      checks: { postgres: () => Promise.resolve(), temporal: () => Promise.resolve() },
      ...composition,
    });
    gateways.push(gateway);
    return { ...fakes, engine, gateway };
  };
}
