import { lookup } from 'node:dns/promises';
import { connect as connectTcp } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { App } from '../../connections/app.ts';
import type { AppRegistry } from '../../connections/registry.ts';
import { createEgressGuard, parseEgressAllow, type AdmittedTarget } from '../../oauth/egress.ts';
import type { ProviderCatalogue } from '../../oauth/provider-catalogue.ts';
import { databaseReason } from '../database-away.ts';
import { reporterOf, type Finding } from './finding.ts';

const handshakeLimitMs = 5_000;
const appsPerPage = 500;
const appsMax = 5_000;
const hostsMax = 100;

const report = reporterOf('providers');

/**
 * Whether the token hosts of the registered apps can be reached from here: by the rules of egress, by
 * name and by handshake. Nothing is sent.
 */
export async function checkProviders(parts: {
  apps: AppRegistry;
  providers: ProviderCatalogue;
  egressAllow: string[];
}): Promise<Finding[]> {
  let apps: App[];
  try {
    apps = await listApps(parts.apps);
  } catch (error) {
    const why = databaseReason(error);
    return [report.warning(`not checked: the apps cannot be read: ${why}`, 'see database')];
  }
  if (apps.length === 0) return [report.ok('no app is registered yet')];
  const { urls, findings } = tokenUrls(apps, parts.providers);
  const asked = [...urls].slice(0, hostsMax);
  const reached = await Promise.all(
    asked.map(([origin, ids]) => checkOrigin(new URL(origin), ids, parts.egressAllow)),
  );
  const left = urls.size - asked.length;
  if (left > 0) {
    const remedy = 'watch token_manager_provider_requests_total for them';
    findings.push(report.warning(`${left} more token hosts are not checked`, remedy));
  }
  return [...reached, ...findings];
}

async function listApps(registry: AppRegistry): Promise<App[]> {
  const apps: App[] = [];
  let cursor: string | undefined;
  do {
    const page = await registry.list({
      visibleTo: null,
      limit: appsPerPage,
      ...(cursor !== undefined && { cursor }),
    });
    apps.push(...page.items);
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined && apps.length < appsMax);
  return apps;
}

/** Origins of the URLs that refresh, and the apps behind each. */
export function tokenUrls(
  apps: Pick<App, 'id' | 'provider' | 'overrides'>[],
  providers: Pick<ProviderCatalogue, 'resolve'>,
): { urls: Map<string, string[]>; findings: Finding[] } {
  const urls = new Map<string, string[]>();
  const findings: Finding[] = [];
  let templated = 0;
  for (const { id, provider, overrides } of apps) {
    try {
      const { refreshUrl, tokenUrl } = providers.resolve(provider, overrides);
      const origin = /^https?:\/\/[^/?#]*/i.exec(refreshUrl ?? tokenUrl)?.[0] ?? '';
      if (!URL.canParse(origin) || origin.includes('${')) templated += 1;
      else urls.set(origin, [...(urls.get(origin) ?? []), id]);
    } catch {
      findings.push(
        report.fault(
          `app ${id}: its provider ${provider} is not defined here, or not with its overrides`,
          'add the definition to PROVIDERS_FILE, or PUT the app with overrides that fit',
        ),
      );
    }
  }
  if (templated > 0) {
    const whose = `${templated} ${templated === 1 ? 'app has' : 'apps have'}`;
    findings.push(report.ok(`${whose} a token host of each connection's own: nothing to try`));
  }
  return { urls, findings };
}

async function checkOrigin(url: URL, appIds: string[], egressAllow: string[]): Promise<Finding> {
  const guard = createEgressGuard({
    allow: parseEgressAllow(egressAllow.join(' ')),
    lookup: async (hostname) =>
      (await lookup(hostname, { all: true })).map(({ address }) => address),
  });
  const whose = `${url.origin} (${nameSome(appIds)})`;
  const admission = await guard.admit(url);
  switch (admission.kind) {
    case 'refused':
      return report.fault(
        `${whose} may not be called: it is plain http or leads to an address that is not global`,
        'correct the definition, or list the host in EGRESS_ALLOW if it is meant',
      );
    case 'unresolved':
      return report.fault(
        `${whose} has no address here: ${admission.code}`,
        'correct the host in the definition, or the name servers of this machine',
      );
    case 'admitted': {
      const failure = await shakeHands(admission);
      return failure === undefined
        ? report.ok(`${whose} can be reached`)
        : report.fault(
            `${whose} cannot be reached: ${failure}`,
            'open the way out of this network; behind a private CA set NODE_EXTRA_CA_CERTS',
          );
    }
  }
}

/** Connects, with TLS where the URL says so, and hangs up. Undefined: it went well. */
function shakeHands(target: AdmittedTarget): Promise<string | undefined> {
  const { hostname, port, secure } = target;
  const [host = hostname] = target.addresses;
  return new Promise((resolve) => {
    const socket = secure
      ? connectTls({ host, port, servername: isNamed(hostname) ? hostname : '' })
      : connectTcp({ host, port });
    const end = (failure: string | undefined): void => {
      socket.destroy();
      resolve(failure);
    };
    socket.setTimeout(handshakeLimitMs, () =>
      end(`no answer within ${handshakeLimitMs / 1_000} s`),
    );
    socket.once(secure ? 'secureConnect' : 'connect', () => end(undefined));
    socket.once('error', (error: Error) => end(error.message));
  });
}

/** TLS takes no address for a server name (RFC 6066 section 3). */
function isNamed(hostname: string): boolean {
  return !/^[\d.]+$|:/.test(hostname);
}

function nameSome(ids: string[]): string {
  const [first = '', ...others] = ids;
  return others.length === 0 ? `app ${first}` : `apps ${first} and ${others.length} more`;
}
