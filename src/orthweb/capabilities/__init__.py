"""What an Orthanc can do: discovered from its version and plugins, never assumed, and rendered accordingly."""
