import type { RotationClass } from '../../connections/connection.ts';
import type { SeededRandom } from './seeded-random.ts';

export const graceSeconds = 30;
/** The clients of the authorization server share it. */
export const clientSecret = 'rotation-secret';

/** An app of the run: one rotation class, its client at the authorization server. */
export interface EnduranceApp {
  id: string;
  clientId: string;
  class: RotationClass;
  introspection: boolean;
  /** Of all connections; together 1. */
  share: number;
}

export const enduranceApps: EnduranceApp[] = [
  { id: 'app-s', clientId: 'S', class: 'S', introspection: false, share: 0.1 },
  { id: 'app-l', clientId: 'L', class: 'L', introspection: false, share: 0.1 },
  { id: 'app-t', clientId: 'T30', class: 'T', introspection: false, share: 0.2 },
  { id: 'app-c', clientId: 'C', class: 'C', introspection: false, share: 0.15 },
  { id: 'app-x', clientId: 'X', class: 'X', introspection: false, share: 0.15 },
  { id: 'app-f', clientId: 'F', class: 'F', introspection: false, share: 0.2 },
  { id: 'app-fi', clientId: 'F-introspection', class: 'F', introspection: true, share: 0.1 },
];

export interface EnduranceConnection {
  id: string;
  app: EnduranceApp;
  /** As the authorization server issues its access tokens. */
  lifetimeSeconds: number;
  /** What is left of the first one when it is imported. */
  firstLifetimeSeconds: number;
}

/** Exchanges a second that two cores carry beside everything else. */
const exchangesPerSecond = 15;
const lifetimeMinSeconds = 20;
/** Some connections of class F hold a token long enough to outlast most of what happens. */
const longLifetimeFactor = 2.5;
const longLifetimeOneIn = 3;

/** The connections of the run, their lifetimes such that refreshes go on all the time. */
export function mixConnections(count: number, random: SeededRandom): EnduranceConnection[] {
  const shortSeconds = Math.max(Math.round(count / exchangesPerSecond), lifetimeMinSeconds);
  const connections: EnduranceConnection[] = [];
  for (const app of enduranceApps) {
    for (let n = Math.round(app.share * count); n > 0; n -= 1) {
      const isLong = app.class === 'F' && n % longLifetimeOneIn === 0;
      const lifetimeSeconds = Math.round(isLong ? shortSeconds * longLifetimeFactor : shortSeconds);
      connections.push({
        id: `${app.id}-${String(n)}`,
        app,
        lifetimeSeconds,
        firstLifetimeSeconds: Math.ceil(random.between(1, lifetimeSeconds)),
      });
    }
  }
  return connections;
}
