// The client against a real server: `scripts/clients` builds it and runs this.
