"""What every Lepton service is made of: servers, channels, errors, stores and jobs."""
