export { deliverEvents } from './deliver-events.ts';
export { ensureFresh } from './ensure-fresh.ts';
export { refreshConnection } from './refresh-connection.ts';
export { resealConnections } from './reseal-connections.ts';
export { revokeConnection } from './revoke-connection.ts';
export { sweepConnections } from './sweep-connections.ts';
