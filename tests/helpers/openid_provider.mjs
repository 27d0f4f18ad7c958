// An OpenID provider for tests: oidc-provider, with a login form that takes any password.
// Its host is another site than the TMS at 127.0.0.1, as usual. Arguments: the module, and the URL of the TMS. Prints the URL of the issuer, and ends with standard input.
import { createServer } from 'node:http';

const [modulePath, tms] = process.argv.slice(2);
const { Provider } = await import(modulePath);
const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://localhost:${server.address().port}`;

const people = {
  ada: { name: 'Ada Lovelace', email: 'ada@example.com', email_verified: true, groups: ['tms-admins', 'staff'] },
  bob: { name: 'Bob', email: 'bob@example.com', email_verified: true, groups: ['developers'] },
  eve: { name: 'Eve <b>bold</b>', email: 'eve@example.com', email_verified: true, groups: ['staff'] },
  mallory: { name: 'Mallory', email: 'mallory@example.com', email_verified: true, groups: ['others'] },
};

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'tms',
      client_secret: 's3cret:of/the+client',
      redirect_uris: [`${tms}/login/callback`],
      token_endpoint_auth_method: 'client_secret_basic',
    },
  ],
  claims: { openid: ['sub'], profile: ['name', 'groups'], email: ['email', 'email_verified'] },
  conformIdTokenClaims: false,
  cookies: { keys: ['for tests'] },
  pkce: { required: () => true },
  features: { devInteractions: { enabled: true } },
  findAccount: async (_, id) => ({ accountId: id, claims: async () => ({ sub: id, ...people[id] }) }),
  // Without a page on which the person agrees to what is requested.
  loadExistingGrant: async (ctx) => {
    const grant = new provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope('openid profile email');
    await grant.save();
    return grant;
  },
});

server.on('request', provider.callback());
process.stdin.on('end', () => process.exit(0)).resume();
console.log(issuer);
