import ipaddr from 'ipaddr.js';
import { quoted, type Settings } from './settings.ts';

const portMax = 65_535;
const loopback = '127.0.0.1';
const everywhere = '0.0.0.0';

export interface ListenConfig {
  http: {
    host: string;
    /** 0 takes a free port. */
    port: number;
    /** Bounds the request line and headers. */
    readBufferSizeBytes: number;
    /** High-water mark of a socket. */
    writeBufferSizeBytes: number;
  };
  /** 0: off. */
  metrics: { port: number };
  /** Port 0: off. */
  pprof: { host: string; port: number };
}

/** Where this process listens: where nobody else is, unless it knows its callers or is told to. */
export function readListen(
  settings: Settings,
  { callersAreKnown }: { callersAreKnown: boolean },
): ListenConfig {
  const port = (name: string, absent: number) =>
    settings.integer(name, { absent, min: 0, max: portMax });
  const size = (name: string, max: number) =>
    settings.integer(name, { absent: 4_096, min: 1_024, max });
  const listen = {
    http: {
      host: readHost(settings, 'HOST', callersAreKnown ? everywhere : loopback),
      port: port('PORT', 8_080),
      readBufferSizeBytes: size('FIBER_READ_BUFFER_SIZE', 1_048_576),
      writeBufferSizeBytes: size('FIBER_WRITE_BUFFER_SIZE', 16_777_216),
    },
    metrics: { port: port('METRICS_PORT', 9_994) },
    pprof: { host: readHost(settings, 'PPROF_HOST', loopback), port: port('PPROF_PORT', 6_064) },
  };
  refuseSharedPorts(settings, [
    ['PORT', listen.http.port],
    ['METRICS_PORT', listen.metrics.port],
    ['PPROF_PORT', listen.pprof.port],
  ]);
  const anonymousAllowed = settings.boolean('ALLOW_ANONYMOUS_CALLERS', false);
  if (!callersAreKnown && !anonymousAllowed && !isLoopback(listen.http.host)) {
    settings.fault(
      'HOST',
      `is ${quoted(listen.http.host)}, where anybody who reaches it could read every token; ` +
        'leave it at 127.0.0.1, name the callers (CALLERS_FILE, or TLS_MODE=mtls), ' +
        'or set ALLOW_ANONYMOUS_CALLERS=true where the network keeps others out',
    );
  }
  return listen;
}

function readHost(settings: Settings, name: string, absent: string): string {
  const host = settings.text(name) ?? absent;
  if (!ipaddr.isValid(host) && !/^[A-Za-z0-9]([A-Za-z0-9.-]{0,252})$/.test(host)) {
    settings.fault(name, `is ${quoted(host)}; set an address or a host name without a port`);
  }
  return host;
}

export function isLoopback(host: string): boolean {
  if (host === 'localhost') return true;
  return ipaddr.isValid(host) && ipaddr.process(host).range() === 'loopback';
}

function refuseSharedPorts(settings: Settings, ports: [name: string, port: number][]): void {
  for (const [index, [name, port]] of ports.entries()) {
    const other = ports.slice(0, index).find(([, taken]) => port !== 0 && taken === port);
    if (other !== undefined) {
      settings.fault(name, `is ${port}, and so is ${other[0]}; give each a port of its own`);
    }
  }
}
