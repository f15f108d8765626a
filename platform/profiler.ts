import { setTimeout as sleep } from 'node:timers/promises';

/** As in Go's runtime: one sample for each 512 KiB allocated, and 100 samples a second of the CPU. */
const heapIntervalBytes = 524_288;
const heapStackDepth = 64;
const cpuIntervalMicros = 10_000;

/** Profiles of this process as gzipped pprof protocol buffers. */
export interface Profiler {
  /**
   * Wall and CPU time of the main thread (Workflow code runs in others) for so long; ends early, with
   * what there is, when the signal is aborted.
   */
  cpu(durationMs: number, signal: AbortSignal): Promise<Buffer>;
  /** What was allocated since the profiler was loaded and is still in use. */
  heap(): Promise<Buffer>;
  close(): void;
}

/**
 * Loads the native profiler and begins to sample the heap, which a heap profile needs. Rejects where the
 * package has no binary for this platform.
 */
export async function loadProfiler(): Promise<Profiler> {
  const { time, heap, encode } = await import('@datadog/pprof');
  heap.start(heapIntervalBytes, heapStackDepth);
  return {
    async cpu(durationMs, signal) {
      time.start({
        durationMillis: durationMs,
        intervalMicros: cpuIntervalMicros,
        // CPU time is only counted with contexts, which we set none of.
        withContexts: true,
        collectCpuTime: true,
      });
      // That it was cut short is no failure: what was seen until then is the profile.
      await sleep(durationMs, undefined, { signal }).catch(() => undefined);
      return encode(time.stop());
    },
    heap: () => encode(heap.profile()),
    close: () => heap.stop(),
  };
}
