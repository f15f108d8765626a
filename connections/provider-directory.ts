import type { CredentialKind, RotationClass } from './connection.ts';

/** What the catalogue says of a provider, as a definition writes it; no override is applied. */
export interface ProviderDescription {
  name: string;
  displayName: string | null;
  /** Where the facts of the definition come from. */
  docs: string[];
  credential: CredentialKind;
  /** How the token endpoint is told who asks. */
  clientAuth: string;
  /** Each token request carries a proof of possession of the connection's key (RFC 9449). */
  dpop: boolean;
  /** URL template over the variables; null where an app's overrides must say it. */
  tokenUrl: string | null;
  /** Host patterns that the filled-in URLs must match; null: any host that egress allows. */
  allowedHosts: string[] | null;
  /** What a connection must say of itself: names, and the anchored pattern of each value. */
  variables: Record<string, { pattern: string }>;
  rotation: {
    class: RotationClass;
    /** What the class says of the refresh token that was just used. */
    meaning: string;
    graceSeconds: number | null;
    oldAccessTokenDies: boolean;
  };
  lifetimes: {
    /** Of an access token whose answer names none. */
    accessTokenDefaultSeconds: number | null;
    accessTokenNeverExpires: boolean;
    refreshTokenIdleSeconds: number | null;
    refreshTokenAbsoluteSeconds: number | null;
    keepAliveSeconds: number | null;
  };
  limits: {
    minIntervalSeconds: number;
    perWindow: { count: number; seconds: number } | null;
    concurrency: number | null;
  };
}

/** What the gateway asks of the catalogue, so that it need not know OAuth. */
export interface ProviderDirectory {
  /** All, in the order of their names. */
  list(): ProviderDescription[];
  get(name: string): ProviderDescription | undefined;
}
